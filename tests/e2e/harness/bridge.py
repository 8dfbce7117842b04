"""The bridge as a process: its configuration, its two listeners, its end."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from . import ports, secrets
from .http import Client
from .processes import dies_with_parent
from .wait import until

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent


def binary():
    """The program under test: `HOOKFERRY_BIN`, else the build of the dev profile."""
    given = os.environ.get("HOOKFERRY_BIN")
    if given:
        return str(Path(given).resolve())
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return str(target / "debug" / "hookferry")


def environment(home, extra=None):
    """What the bridge sees: nothing of the caller's but the path."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RUST_BACKTRACE": "0",
        **secrets.ENV,
        **(extra or {}),
    }


def run(*arguments, cwd, stdin=None, timeout=60, env=None):
    """Runs one command of the program to its end."""
    done = subprocess.run(
        [binary(), *arguments],
        cwd=cwd,
        env=environment(cwd, env),
        input=stdin,
        capture_output=True,
        timeout=timeout,
        text=True,
        check=False,
    )
    assert "panicked" not in done.stderr, done.stderr
    for name, secret in secrets.ENV.items():
        assert secret not in done.stdout + done.stderr, f"{name} is printed by {arguments}"
    return done


class Bridge:
    """`hookferry serve` on free ports. The ports and the journal stay over restarts."""

    def __init__(self, directory, config="", *, server="", admin="", journal="", env=None, arguments=(), journal_dir=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.journal_dir = Path(journal_dir or self.directory / "data")
        self.port = ports.free()
        self.admin_port = ports.free()
        self.config_path = self.directory / "hookferry.toml"
        self.sections = {"server": server, "admin": admin, "journal": journal}
        self.env = env or {}
        self.arguments = list(arguments)
        self.process = None
        self.token = None
        self.starts = 0
        self._client = Client(self.port)
        self._admin = Client(self.admin_port)
        self.configure(config)

    def configure(self, config):
        """Writes the configuration; takes effect at the next start."""
        journal = self.sections["journal"]
        if "segment_bytes" not in journal:
            journal += '\nsegment_bytes = "4MiB"'
        server = self.sections["server"]
        if "ack_timeout" not in server:
            # A disk that other work keeps busy for a second is not what the suites are about.
            server += '\nack_timeout = "5s"'
        # In one step: a bridge that follows its files would read half of it, or nothing, and take that up.
        new = self.config_path.with_suffix(".new")
        new.write_text(
            f'[server]\nlisten = "127.0.0.1:{self.port}"\n{server}\n'
            f'[admin]\nlisten = "127.0.0.1:{self.admin_port}"\n{self.sections["admin"]}\n'
            f'[journal]\ndir = "{self.journal_dir}"\n{journal}\n\n{config}\n'
        )
        new.replace(self.config_path)

    # Life

    def spawn(self, *, preexec=dies_with_parent, wrapper=()):
        assert self.process is None
        self.starts += 1
        self.wrapped = bool(wrapper)
        with open(self._said("out"), "wb") as out, open(self._said("log"), "wb") as log:
            self.process = subprocess.Popen(
                [*wrapper, binary(), "serve", "--config", str(self.config_path), *self.arguments],
                cwd=self.directory,
                env=environment(self.directory, self.env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                preexec_fn=preexec,
            )
        return self

    def _said(self, kind, start=None):
        """The file of what one start, the last if not given, has printed: `out` or `log`."""
        return self.directory / f"{kind}.{start or self.starts}"

    def start(self, **how):
        self.spawn(**how)
        self.wait_ready()
        return self

    def start_anyhow(self, seconds=30, **how):
        """Starts and waits until it serves, ready or not."""
        self.spawn(**how)

        def serves():
            assert self.process.poll() is None, f"the bridge ended with {self.process.poll()}:\n{self.log()}"
            try:
                return self.admin("GET", "/livez").status == 200
            except OSError:
                return False

        until(serves, seconds, "livez 200")
        return self

    def wait_ready(self, seconds=30):
        def ready():
            assert self.process.poll() is None, f"the bridge ended with {self.process.poll()}:\n{self.log()}"
            try:
                return self.admin("GET", "/readyz").status == 200
            except OSError:
                return False

        until(ready, seconds, "readyz 200")

    @property
    def pid(self):
        """The bridge's own, also behind a wrapper."""
        if not self.wrapped:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        assert len(children) == 1, children
        return int(children[0])

    def resident(self):
        """Bytes of memory that it holds."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) << 10

    def signal(self, number):
        """Sends a signal to the bridge itself, also behind a wrapper (strace), which would not pass it on."""
        if self.wrapped:
            os.kill(self.pid, number)
        else:
            self.process.send_signal(number)

    def stop(self, seconds=30):
        """SIGTERM; returns the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait_end(seconds)

    def kill(self):
        """SIGKILL, without warning."""
        self.signal(signal.SIGKILL)
        self.process.wait(30)
        self._ended()

    def wait_end(self, seconds=30):
        status = self.process.wait(seconds)
        self._ended()
        return status

    def _ended(self):
        self.process = None
        self.hang_up()

    def hang_up(self):
        """Closes the connections of this test; the next request makes its own."""
        self._client.close()
        self._admin.close()

    def close(self):
        """Ends the bridge and checks what holds for every run of it."""
        status = 0
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            try:
                status = self.stop(40)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"SIGTERM did not end the bridge:\n{self.log()}") from None
        elif self.process is not None:
            status = self.wait_end()
        said = self.logs()
        assert "panicked" not in said, said[-4000:]
        for name, secret in {**secrets.ENV, **self.env}.items():
            assert secret not in said, f"{name} is printed"
        assert status == 0, f"exit status {status}:\n{self.log()}"

    def log(self):
        """What the last start has printed, at most its end."""
        return "".join(self._said(kind).read_text(errors="replace") for kind in ("out", "log"))[-4000:]

    def logs(self, kinds=("out", "log")):
        """Everything that any start has printed."""
        return "".join(
            self._said(kind, start).read_text(errors="replace")
            for start in range(1, self.starts + 1)
            for kind in kinds
        )

    # Requests

    def post(self, path, headers, body):
        return self._client.request("POST", path, headers, body)

    def request(self, method, path, headers=(), body=b""):
        return self._client.request(method, path, headers, body)

    def admin(self, method, path, headers=(), body=b""):
        headers = list(headers)
        if self.token:
            headers.append(("Authorization", f"Bearer {self.token}"))
        return self._admin.request(method, path, headers, body)

    @property
    def admin_url(self):
        return f"http://127.0.0.1:{self.admin_port}"

    # What the admin listener knows

    def metrics(self):
        """Samples by name and labels, e.g. `hookferry_events_total{source="github"}`."""
        reply = self.admin("GET", "/metrics")
        assert reply.status == 200, reply
        samples = {}
        for line in reply.body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def metric(self, name, **labels):
        """Sum over the samples of a metric whose labels hold the given ones; 0 if there is none."""
        total = 0.0
        for sample, value in self.metrics().items():
            bare, _, rest = sample.partition("{")
            found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', rest))
            if bare == name and all(found.get(k) == v for k, v in labels.items()):
                total += value
        return total

    def events(self, after=None, limit=500, **query):
        """Every accepted event after a position, by as many pages as it takes."""
        events = []
        for _ in range(10_000):
            page = self.page(after=after, limit=limit, **query)
            if not page["events"]:
                return events
            events += page["events"]
            after = page["next"]
        raise AssertionError("the pages do not end")

    def page(self, **query):
        pairs = [f"{quote(k)}={quote(str(v))}" for k, v in query.items() if v is not None]
        reply = self.admin("GET", "/v1/events?" + "&".join(pairs))
        assert reply.status == 200, reply
        return json.loads(reply.body)

    def wait_delivered(self, *backends, seconds=30):
        """Until every backend has got as many events as this process had accepted at the call, while a load goes on."""
        accepted = self.metric("hookferry_events_total")

        def delivered():
            return all(self.metric("hookferry_published_total", backend=name) >= accepted for name in backends)

        until(delivered, seconds, f"{accepted:.0f} events in {backends}")

    def wait_drained(self, *backends, seconds=30):
        """Until no backend owes anything; under a load that may never be seen."""
        def drained():
            return all(self.metric("hookferry_backlog_events", backend=name) == 0 for name in backends)

        until(drained, seconds, f"no backlog of {backends}")
