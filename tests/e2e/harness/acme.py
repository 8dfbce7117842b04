"""A certificate authority that speaks ACME: pebble, Let's Encrypt's own for tests, with names that lead to this host."""

import json
import os
import ssl
import subprocess
import urllib.request

from . import ports
from .certificates import Authority
from .processes import dies_with_parent
from .wait import until


class Pebble:
    """Gives certificates of `validity` seconds to who answers at `port` for any name. Each start is another authority."""

    def __init__(self, directory, port, validity):
        self.directory = directory
        own = Authority(directory, "pebble's own")
        own.sign(directory / "cert.pem", directory / "key.pem")
        self.ca = own.file
        self.port, self.management = ports.free(), ports.free()
        self.dns, self.dns_management = ports.free(), ports.free()
        self.directory_url = f"https://localhost:{self.port}/dir"
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(directory / "cert.pem"),
            "privateKey": str(directory / "key.pem"),
            "httpPort": ports.free(),
            "tlsPort": port,
            "certificateValidityPeriod": validity,
        }
        self.config = directory / "pebble.json"
        self.config.write_text(json.dumps({"pebble": config}))
        self.processes = []

    def start(self):
        self._run("pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{self.dns}",
                  "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", f"127.0.0.1:{self.dns_management}")  # fmt: skip
        self._run("pebble", "-config", str(self.config), "-dnsserver", f"127.0.0.1:{self.dns}", "-strict")
        until(self.root, 20, "the authority")
        return self

    def _run(self, *command):
        with open(self.directory / f"{command[0]}.log", "ab") as log:
            self.processes.append(subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=dies_with_parent,
            ))  # fmt: skip

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait(10)
        self.processes.clear()

    def root(self):
        """The certificate that it signs under, PEM; `None` while it is not there."""
        trust = ssl.create_default_context(cafile=self.ca)
        try:
            with urllib.request.urlopen(f"https://localhost:{self.management}/roots/0", context=trust, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None
