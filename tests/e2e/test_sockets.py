"""Listeners that are no ports: Unix sockets, and sockets that systemd holds."""

import json
import os
import signal
import socket
import stat
import subprocess
import threading

import pytest
from harness import ports, sources
from harness.bridge import binary, environment, run
from harness.http import head, read_answer
from harness.processes import dies_with_parent
from harness.wait import until


def request(one, *more):
    return head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body))), *more]) + one.body


def over(path, wire, family=socket.AF_UNIX):
    with socket.socket(family) as sock:
        sock.settimeout(10)
        sock.connect(path)
        sock.sendall(wire)
        return read_answer(sock)


def connects(path, family=socket.AF_UNIX):
    with socket.socket(family) as sock:
        return sock.connect_ex(path) == 0


class Started:
    """`hookferry serve` on a configuration of this test's own."""

    def __init__(self, folder, server, admin, config, *, wrapper=(), env=None, **how):
        self.folder = folder
        self.file = folder / "a.toml"
        self.file.write_text(f'[server]\n{server}\n[admin]\n{admin}\n[journal]\ndir = "{folder}/data"\n{config}')
        self.log = folder / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*wrapper, binary(), "serve", "--config", str(self.file)],
                cwd=folder, env=environment(folder, env), stdout=subprocess.DEVNULL, stderr=log,
                **{"preexec_fn": dies_with_parent, **how},
            )

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(20)

    def ends(self):
        return self.process.wait(20), self.log.read_text()

    def asks(self, *arguments):
        return run(*arguments, "--config", str(self.file), cwd=self.folder)

    def ready(self):
        def is_ready():
            assert self.process.poll() is None, self.log.read_text()
            return self.asks("healthcheck").returncode == 0

        until(is_ready, 20, "healthcheck 0")
        return self


@pytest.fixture
def start(tmp_path):
    made = []

    def make(*arguments, **how):
        made.append(Started(tmp_path, *arguments, **how))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def sockets(tmp_path):
    return f"{tmp_path}/in.sock", f"{tmp_path}/admin.sock"


def on(path, more=""):
    return f'listen = "unix:{path}"\n{more}'


def test_both_listeners_serve_over_unix_sockets_that_go_with_the_bridge(start, sockets, senders):
    ingress, admin = sockets
    bridge = start(on(ingress, 'socket_mode = "0600"'), on(admin), sources.only("acme")).ready()
    assert stat.S_IMODE(os.stat(ingress).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(admin).st_mode) == 0o660
    assert over(ingress, request(senders.make("acme"))).status == 200
    assert over(ingress, request(senders.make("acme"), ("X-Forwarded-For", "192.0.2.1"))).status == 200
    sent = bridge.asks("send", "acme")
    assert sent.returncode == 0 and sent.stdout.startswith("200 "), sent
    listed = bridge.asks("events", "list", "--json")
    assert len(listed.stdout.splitlines()) == 3, listed
    assert "clientip" not in listed.stdout, "whoever opens the socket is not believed unasked"
    named = run("healthcheck", "--admin", f"unix:{admin}", cwd=bridge.folder)
    assert named.returncode == 0, named
    assert bridge.stop() == 0
    assert not os.path.exists(ingress) and not os.path.exists(admin)


def test_a_proxy_behind_the_unix_socket_names_the_client(start, sockets, senders):
    ingress, admin = sockets
    listed = sources.only("acme").replace("[sources.acme]\n", '[sources.acme]\nallow_ips = ["192.0.2.0/24"]\n')
    bridge = start(on(ingress, 'trusted_proxies = ["unix"]'), on(admin), listed).ready()
    for address, status in [("192.0.2.7", 200), ("203.0.113.9", 403), ("192.0.2.7, 203.0.113.9", 403)]:
        assert over(ingress, request(senders.make("acme"), ("X-Forwarded-For", address))).status == status, address
    assert over(ingress, request(senders.make("acme"))).status == 403, "no address is none that may send"
    (event,) = map(json.loads, bridge.asks("events", "list", "--json").stdout.splitlines())
    assert event["clientip"] == "192.0.2.7"


def test_a_socket_that_a_kill_left_behind_is_replaced_and_one_in_use_is_not(start, sockets, senders, tmp_path):
    ingress, admin = sockets
    bridge = start(on(ingress), on(admin), sources.only("acme")).ready()
    second = start(on(ingress), f'listen = "127.0.0.1:{ports.free()}"', sources.only("acme"))
    code, log = second.ends()
    assert code == 1 and f"cannot listen on unix:{ingress}" in log and "in use" in log
    bridge.stop(signal.SIGKILL)
    assert os.path.exists(ingress)
    start(on(ingress), on(admin), sources.only("acme")).ready()
    assert over(ingress, request(senders.make("acme"))).status == 200


def test_a_file_that_is_no_socket_stops_the_start_and_stays(start, sockets):
    ingress, admin = sockets
    with open(ingress, "w") as file:
        file.write("mine")
    code, log = start(on(ingress), on(admin), sources.only("acme")).ends()
    assert code == 1 and "is no socket" in log
    assert open(ingress).read() == "mine"


def activate(*listens):
    """systemd's own starter of units with sockets; it passes on only the variables that it is told."""
    names = ":".join(name for name, _ in listens)
    variables = [f"--setenv={name}" for name in environment("/")]
    return ["systemd-socket-activate", *[f"--listen={where}" for _, where in listens], f"--fdname={names}", *variables]


def test_sockets_of_systemd_are_taken_by_name(start, sockets, senders):
    _, admin = sockets
    port = ports.free()
    bridge = start(
        'listen = "systemd:http"', 'listen = "systemd:ops"\ntoken = "literal:t0ken"', sources.only("acme"),
        wrapper=activate(("ops", admin), ("http", f"127.0.0.1:{port}")),
    )
    until(lambda: connects(("127.0.0.1", port), socket.AF_INET), what="systemd's socket")
    assert over(("127.0.0.1", port), request(senders.make("acme")), socket.AF_INET).status == 200
    named = run("healthcheck", "--admin", f"unix:{admin}", cwd=bridge.folder)
    assert named.returncode == 0, named
    where = bridge.asks("healthcheck")
    assert where.returncode == 2 and "only systemd knows" in where.stderr, where
    assert bridge.stop() == 0
    assert os.path.exists(admin), "it is systemd's"


def passing(sock, **names):
    """A parent that hands over `sock` as the third descriptor, as systemd does."""

    def preexec():
        dies_with_parent()
        os.dup2(sock.fileno(), 3)
        os.set_inheritable(3, True)

    env = {"LISTEN_FDS": "1", **({"LISTEN_FDNAMES": names["name"]} if names else {})}
    return {"preexec_fn": preexec, "pass_fds": (3,), "env": env}


def test_a_restart_behind_a_socket_of_systemd_refuses_nobody(start, senders):
    admin = f'listen = "127.0.0.1:{ports.free()}"'
    with socket.create_server(("127.0.0.1", 0)) as held:
        there = held.getsockname()
        bridge = start('listen = "systemd"', admin, sources.only("acme"), **passing(held)).ready()
        assert over(there, request(senders.make("acme")), socket.AF_INET).status == 200
        assert bridge.stop() == 0
        # Nobody listens now but the kernel.
        late, answers = senders.make("acme"), []
        waits = threading.Thread(target=lambda: answers.append(over(there, request(late), socket.AF_INET)))
        waits.start()
        bridge = start('listen = "systemd"', admin, sources.only("acme"), **passing(held)).ready()
        waits.join(15)
        assert [answer.status for answer in answers] == [200]
        assert len(bridge.asks("events", "list", "--json").stdout.splitlines()) == 2


def test_sockets_that_are_missing_or_not_named_stop_the_start_with_words(start):
    admin = f'listen = "127.0.0.1:{ports.free()}"'
    code, log = start('listen = "systemd"', admin, sources.only("acme")).ends()
    assert code == 1 and "systemd passes no socket" in log
    with socket.create_server(("127.0.0.1", 0)) as held:
        how = passing(held, name="http")
        code, log = start('listen = "systemd:web"', admin, sources.only("acme"), **how).ends()
        assert code == 1 and "of this name; it passes http" in log
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        code, log = start('listen = "systemd"', admin, sources.only("acme"), **passing(held)).ends()
        assert code == 1 and "no stream socket" in log
