"""Health as service managers and containers see it: systemd's notifications and watchdog, `healthcheck`, the log level."""

import json
import os
import signal
import socket
import time

import pytest
from harness import sources
from harness.bridge import run
from harness.certificates import Authority
from harness.wait import until


@pytest.fixture
def manager(tmp_path):
    """The socket that systemd would listen on; gives what it was told, in order."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.setblocking(False)
        told = []

        def read():
            while True:
                try:
                    told.append(sock.recv(4096).decode().split())
                except BlockingIOError:
                    return told

        read.path = path
        yield read


def test_systemd_is_told_of_start_reload_and_stop(bridges, manager):
    bridge = bridges(sources.only("acme"), env={"NOTIFY_SOCKET": manager.path}).start()
    until(lambda: manager() == [["READY=1"]], 5, "READY")
    bridge.configure("[broken")
    bridge.signal(signal.SIGHUP)
    until(lambda: len(manager()) == 3, 5, "the reload")
    before = time.monotonic_ns() // 1000
    reloading, ready = manager()[1:]
    assert reloading[0] == "RELOADING=1" and ready == ["READY=1"]
    assert before - 10_000_000 < int(reloading[1].removeprefix("MONOTONIC_USEC=")) <= before
    assert bridge.stop() == 0
    assert manager()[3:] == [["STOPPING=1"]]


def check_beats(bridge, manager):
    """The watchdog hears the bridge again and again, not while it is frozen, and then again."""

    def beats():
        return manager().count(["WATCHDOG=1"])

    until(lambda: beats() >= 5, 10, "the watchdog's beat")
    bridge.signal(signal.SIGSTOP)
    stopped = beats()
    time.sleep(0.7)  # a frozen process must say nothing, for longer than two beats
    assert beats() == stopped
    bridge.signal(signal.SIGCONT)
    until(lambda: beats() > stopped + 1, 5, "the beat after the thaw")


def test_the_watchdog_is_told_only_while_the_bridge_answers(bridges, manager):
    env = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "600000"}
    check_beats(bridges(sources.only("acme"), env=env).start(), manager)


@pytest.mark.parametrize("clients", ["any client", "clients with a certificate"])
def test_the_watchdog_is_told_where_the_admin_listener_speaks_tls(bridges, manager, tmp_path, clients):
    """The probe has no certificate that `client_ca` would take: being refused is an answer too."""
    authority = Authority(tmp_path / "tls")
    cert, key = tmp_path / "tls" / "cert.pem", tmp_path / "tls" / "key.pem"
    authority.sign(cert, key)
    tls = f'[admin.tls]\ncert = "{cert}"\nkey = "{key}"\n'
    if clients != "any client":
        tls += f'client_ca = "{authority.file}"\n'
    bridge = bridges(tls + sources.only("acme"), env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "600000"}).spawn()
    check_beats(bridge, manager)
    assert "does not answer" not in bridge.log(), bridge.log()


def test_the_watchdog_is_not_told_while_the_writer_hangs(disk, bridges, manager):
    """A file system that is frozen hangs every write, as a dying disk does."""
    env = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "600000"}
    bridge = bridges(sources.only("acme"), env=env, journal_dir=disk.path / "data").start()
    until(lambda: manager().count(["WATCHDOG=1"]) >= 2, 5, "the beat")
    disk.freeze()
    try:
        # Registers a cursor: the writer has something to write.
        with socket.create_connection(("127.0.0.1", bridge.admin_port)) as sock:
            body = b'{"sequence":"0"}'
            sock.sendall(
                b"PUT /v1/consumers/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            until(lambda: "does not answer" in bridge.log(), 5, "the warning")
            beats = manager().count(["WATCHDOG=1"])
            time.sleep(0.5)  # more than two beats
            assert manager().count(["WATCHDOG=1"]) == beats
    finally:
        disk.thaw()
    until(lambda: manager().count(["WATCHDOG=1"]) > beats, 5, "the beat after the thaw")


def test_healthcheck_says_whether_events_are_taken_and_why_not(bridges, tmp_path):
    bridge = bridges(sources.only("acme")).start()
    by_file = run("healthcheck", "--config", str(bridge.config_path), cwd=tmp_path)
    assert (by_file.returncode, by_file.stdout) == (0, "ready\n")
    by_url = run("healthcheck", "--admin", bridge.admin_url, cwd=tmp_path)
    assert (by_url.returncode, by_url.stdout) == (0, "ready\n")
    by_environment = run(
        "healthcheck", cwd=tmp_path, env={"HOOKFERRY__ADMIN__LISTEN": f"127.0.0.1:{bridge.admin_port}"}
    )
    assert by_environment.returncode == 0
    url = bridge.admin_url
    assert bridge.stop() == 0
    gone = run("healthcheck", "--admin", url, cwd=tmp_path)
    assert gone.returncode == 1 and "cannot connect" in gone.stderr


def test_an_unready_bridge_fails_the_healthcheck_with_its_reason(bridges, oracles, tmp_path, own_redis):
    from harness.brokers import redis_backend
    from harness.load import Load

    own_redis.kill()
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis), journal='segment_bytes = "128KiB"\nmax_bytes = "1MiB"', server='max_body = "32KiB"'
    ).start()
    load = Load(bridge, oracles, size=20_000, repeat=False).start()
    until(lambda: bridge.admin("GET", "/readyz").status == 503, 20, "a full journal")
    done = run("healthcheck", "--admin", bridge.admin_url, cwd=tmp_path)
    load.stop()
    assert done.returncode == 1
    assert done.stdout.startswith("unready\n  the journal is full: ") and "backend main is down" in done.stdout


def test_the_log_level_is_changed_at_run_time(bridges, senders):
    bridge = bridges(sources.only("acme"), arguments=["--log-format", "json"]).start()

    def accepted():
        one = senders.make("acme")
        before = bridge.log().count("event accepted")
        assert bridge.post(one.path, one.headers, one.body).status == 200
        return bridge.log().count("event accepted") - before

    assert bridge.admin("GET", "/v1/log-level").json() == {"level": "info"}
    assert accepted() == 0
    assert bridge.admin("PUT", "/v1/log-level", body=b'{"level":"debug"}').json() == {"level": "debug"}
    assert accepted() == 1
    line = next(line for line in bridge.logs(["log"]).splitlines() if "event accepted" in line)
    assert json.loads(line)["level"] == "DEBUG"
    assert bridge.admin("PUT", "/v1/log-level", body=b'{"level":"info"}').status == 200
    assert accepted() == 0
    for bad in (b'{"level":"loud"}', b"{}", b"debug", b'{"level":"info","x":1}'):
        assert bridge.admin("PUT", "/v1/log-level", body=bad).status == 400, bad
    assert bridge.admin("GET", "/v1/log-level").json() == {"level": "info"}
