"""TLS at both listeners: who they are, what they speak, and that certificates change while requests are served."""

import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import pytest
from harness import sources
from harness.bridge import run
from harness.certificates import Authority
from harness.http import head, read_answer, until_closed
from harness.wait import until


class Tls:
    """A bridge whose ingress speaks TLS, and its files."""

    def __init__(self, bridges, directory, more="", admin=False):
        self.directory = directory / "tls"
        self.authority = Authority(self.directory)
        self.cert, self.key = self.directory / "cert.pem", self.directory / "key.pem"
        self.authority.sign(self.cert, self.key)
        pair = f'cert = "{self.cert}"\nkey = "{self.key}"\n'
        config = f"[server.tls]\n{pair}{more}\n" + (f"[admin.tls]\n{pair}\n" if admin else "") + sources.only("acme")
        self.bridge = bridges(config)

    def connect(self, port=None, **how):
        context = ssl.create_default_context(cafile=self.authority.file)
        for name, value in how.items():
            setattr(context, name, value)
        return self._wrapped(context, port)

    def _wrapped(self, context, port=None, session=None):
        plain = socket.create_connection(("127.0.0.1", port or self.bridge.port), timeout=10)
        try:
            return context.wrap_socket(plain, server_hostname="localhost", session=session)
        except BaseException:
            plain.close()
            raise

    def connect_with(self, cert, key):
        context = ssl.create_default_context(cafile=self.authority.file)
        context.load_cert_chain(cert, key)
        return self._wrapped(context)

    def serial(self):
        with self.connect() as sock:
            return sock.getpeercert()["serialNumber"]

    def replace(self, **how):
        cert, key = self.directory / "cert.new", self.directory / "key.new"
        self.authority.sign(cert, key, **how)
        shutil.move(key, self.key)
        shutil.move(cert, self.cert)


def post(sock, one):
    sock.sendall(head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body)))]) + one.body)
    return read_answer(sock)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_webhook_over_tls_is_accepted(bridges, tmp_path, senders, version):
    tls = Tls(bridges, tmp_path)
    tls.bridge.start()
    with tls.connect(minimum_version=version, maximum_version=version) as sock:
        for _ in range(2):
            assert post(sock, senders.make("acme")).json()["status"] == "accepted"
    with socket.create_connection(("127.0.0.1", tls.bridge.port), timeout=10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/" not in sock.recv(100), "plain HTTP is not answered on a port of TLS"


def test_only_http_1_1_is_agreed_upon_and_a_client_that_wants_h2_alone_is_refused(bridges, tmp_path):
    tls = Tls(bridges, tmp_path)
    tls.bridge.start()
    context = ssl.create_default_context(cafile=tls.authority.file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with tls._wrapped(context) as sock:
        assert sock.selected_alpn_protocol() == "http/1.1"
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError):
        tls._wrapped(context)


def test_a_judge_of_tls_finds_nothing_old(bridges, tmp_path):
    tls = Tls(bridges, tmp_path)
    tls.bridge.start()
    report = tmp_path / "sslscan.xml"
    subprocess.run(
        ["sslscan", f"--xml={report}", "--no-colour", f"127.0.0.1:{tls.bridge.port}"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    test = ElementTree.parse(report).find("ssltest")
    protocols = {p.get("type") + p.get("version"): p.get("enabled") == "1" for p in test.findall("protocol")}
    assert {name for name, enabled in protocols.items() if enabled} == {"tls1.2", "tls1.3"}, protocols
    ciphers = test.findall("cipher")
    assert len(ciphers) >= 6
    for cipher in ciphers:
        assert cipher.get("strength") in ("strong", "acceptable"), cipher.attrib
        name = cipher.get("cipher")
        assert name.startswith("TLS_") or (name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name)), name
    assert test.find("heartbleed[@vulnerable='1']") is None
    assert test.find("renegotiation").get("secure") == "1" or test.find("renegotiation").get("supported") == "0"


@pytest.mark.parametrize("how", ["change", "signal"])
def test_a_new_certificate_is_shown_to_new_connections_and_open_ones_live_on(bridges, tmp_path, senders, how):
    tls = Tls(bridges, tmp_path)
    bridge = tls.bridge.start()
    before = tls.serial()
    ends = bridge.metric("hookferry_tls_certificate_not_after_seconds", listener="server")
    assert abs(ends - (time.time() + 365 * 86_400)) < 86_400
    with tls.connect() as old:
        assert post(old, senders.make("acme")).status == 200
        if how == "signal":
            # The key first, and a signal in the middle: the pair does not fit and the old one stays.
            key = tls.key.read_bytes()
            tls.authority.sign(tls.directory / "other.pem", tls.key)
            bridge.signal(signal.SIGHUP)
            until(lambda: "is not the key of" in bridge.log(), what="the mistake in the log")
            assert tls.serial() == before
            tls.key.write_bytes(key)
        tls.replace(days=20)
        if how == "signal":
            bridge.signal(signal.SIGHUP)
        until(lambda: tls.serial() != before, seconds=5, what="the new certificate")
        assert post(old, senders.make("acme")).status == 200, "an open connection lives on"
    ends = bridge.metric("hookferry_tls_certificate_not_after_seconds", listener="server")
    assert abs(ends - (time.time() + 20 * 86_400)) < 86_400
    # Whole days: a second decides between them.
    until(lambda: re.search(r"of \[server.tls\] expires in (19|20) days", bridge.log()), what="the warning")


def test_a_half_written_certificate_keeps_the_old_one_and_says_so(bridges, tmp_path, senders):
    tls = Tls(bridges, tmp_path)
    bridge = tls.bridge.start()
    before, whole = tls.serial(), tls.cert.read_bytes()
    tls.cert.write_bytes(whole[: len(whole) // 2])
    until(lambda: bridge.metric("hookferry_config_last_reload_successful") == 0, what="the failed reload")
    assert f"server.tls.cert: {tls.cert}" in bridge.log()
    assert tls.serial() == before
    with tls.connect() as sock:
        assert post(sock, senders.make("acme")).status == 200
    tls.replace()
    until(lambda: tls.serial() != before, seconds=10, what="the new certificate")


def test_clients_without_a_certificate_are_refused_where_one_is_asked_for(bridges, tmp_path, senders):
    clients = Authority(tmp_path / "clients", "clients")
    good = tmp_path / "clients" / "good.pem", tmp_path / "clients" / "good.key"
    clients.sign(*good, name="client")
    other = tmp_path / "others" / "bad.pem", tmp_path / "others" / "bad.key"
    Authority(tmp_path / "others", "others").sign(*other, name="client")
    tls = Tls(bridges, tmp_path, more=f'client_ca = "{clients.file}"\n')
    tls.bridge.start()
    with tls.connect_with(*good) as sock:
        assert post(sock, senders.make("acme")).status == 200
    for connect in (tls.connect, lambda: tls.connect_with(*other)):
        # With TLS 1.3 the refusal comes after the handshake, as the client sees it.
        with pytest.raises((ssl.SSLError, ConnectionError)), connect() as sock:
            post(sock, senders.make("acme"))


@pytest.mark.parametrize("how", ["change", "signal"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_new_authority_of_clients_decides_from_the_reload_on(bridges, tmp_path, senders, version, how):
    pairs = {}
    for name in ("old", "new"):
        pairs[name] = tmp_path / name / "own.pem", tmp_path / name / "own.key"
        Authority(tmp_path / name, name).sign(*pairs[name], name="client")
    asked = tmp_path / "clients.pem"
    shutil.copy(tmp_path / "old" / "ca.pem", asked)
    tls = Tls(bridges, tmp_path, more=f'client_ca = "{asked}"\n')
    bridge = tls.bridge.start()
    contexts = {}
    for name, pair in pairs.items():
        contexts[name] = ssl.create_default_context(cafile=tls.authority.file)
        contexts[name].load_cert_chain(*pair)
        contexts[name].minimum_version = contexts[name].maximum_version = version

    def refused(name, session=None):
        try:
            # With TLS 1.3 the refusal comes after the handshake, as the client sees it.
            with tls._wrapped(contexts[name], session=session) as sock:
                return post(sock, senders.make("acme")).status != 200
        except (ssl.SSLError, ConnectionError):
            return True

    with tls._wrapped(contexts["old"]) as open_one:
        assert post(open_one, senders.make("acme")).status == 200
        with tls._wrapped(contexts["old"], session=open_one.session) as again:
            assert again.session_reused, "there are sessions that could outlive their authority"
            assert post(again, senders.make("acme")).status == 200
            # One of TLS 1.3 is good for one time only: another for afterwards.
            session = again.session
        assert refused("new")
        shutil.copy(tmp_path / "new" / "ca.pem", tmp_path / "clients.new")
        (tmp_path / "clients.new").replace(asked)
        if how == "signal":
            bridge.signal(signal.SIGHUP)
        until(lambda: not refused("new"), seconds=10, what="the new authority")
        assert refused("old")
        assert refused("old", session), "nor by a session of before"
        assert post(open_one, senders.make("acme")).status == 200, "an open connection lives on"


def test_commands_speak_tls(bridges, tmp_path):
    tls = Tls(bridges, tmp_path)
    bridge = tls.bridge.start()
    config = ("--config", str(bridge.config_path))
    # Without an address the configuration's own certificate is what counts.
    assert run("send", "acme", *config, cwd=tmp_path).returncode == 0
    url = ("--url", f"https://127.0.0.1:{bridge.port}")
    assert run("send", "acme", *config, *url, "--ca", str(tls.authority.file), cwd=tmp_path).returncode == 0
    assert run("send", "acme", *config, *url, "--insecure", cwd=tmp_path).returncode == 0
    assert run("send", "acme", *config, "--count", "20", "--connections", "2", cwd=tmp_path).returncode == 0
    refused = run("send", "acme", *config, *url, cwd=tmp_path)
    assert refused.returncode == 1
    assert "TLS: invalid peer certificate" in refused.stderr, refused.stderr
    elsewhere = Authority(tmp_path / "elsewhere", "elsewhere")
    refused = run("send", "acme", *config, *url, "--ca", str(elsewhere.file), cwd=tmp_path)
    assert refused.returncode == 1
    assert len(bridge.events()) == 23


def test_the_admin_listener_speaks_tls(bridges, tmp_path):
    tls = Tls(bridges, tmp_path, admin=True)
    bridge = tls.bridge
    text = bridge.config_path.read_text().replace("[admin]\n", '[admin]\ntoken = "literal:correct-horse"\n')
    bridge.config_path.write_text(text)
    bridge.spawn()
    until(lambda: "takes webhooks on https://" in bridge.log(), what="the start")
    with tls.connect(bridge.admin_port) as sock:
        sock.sendall(head("GET", "/readyz", [("Host", "localhost")]))
        assert read_answer(sock).status == 200
    config = ("--config", str(bridge.config_path))
    assert run("send", "acme", *config, cwd=tmp_path).returncode == 0
    listed = run("events", "list", "--json", *config, cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert len([json.loads(line) for line in listed.stdout.splitlines()]) == 1
    with tls.connect(bridge.admin_port) as sock:
        form = b"token=correct-horse"
        fields = [("Host", "localhost"), ("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", str(len(form)))]
        sock.sendall(head("POST", "/login", fields) + form)
        cookie = read_answer(sock).headers["set-cookie"]
        assert {"Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; ")), "a session goes over nothing but TLS"
    url = f"https://localhost:{bridge.admin_port}"
    assert run("events", "list", "--admin", url, "--token", "correct-horse", "--ca", str(tls.authority.file), cwd=tmp_path).returncode == 0


def test_commands_show_a_certificate_where_a_listener_asks_for_one(bridges, tmp_path):
    clients = Authority(tmp_path / "clients", "clients")
    pair = tmp_path / "clients" / "own.pem", tmp_path / "clients" / "own.key"
    clients.sign(*pair, name="client")
    tls = Tls(bridges, tmp_path, admin=True)
    text = tls.bridge.config_path.read_text()
    for section in ("server", "admin"):
        text = text.replace(f"[{section}.tls]\n", f'[{section}.tls]\nclient_ca = "{clients.file}"\n')
    tls.bridge.config_path.write_text(text)
    tls.bridge.spawn()
    until(lambda: "takes webhooks on https://" in tls.bridge.log(), what="the start")
    config, own = ("--config", str(tls.bridge.config_path)), ("--cert", str(pair[0]), "--key", str(pair[1]))
    for command in (["healthcheck"], ["send", "acme"], ["events", "list"]):
        assert run(*command, *config, *own, cwd=tmp_path).returncode == 0, command
        refused = run(*command, *config, cwd=tmp_path)
        assert refused.returncode == 1 and "certificate" in refused.stderr.lower(), refused
    alone = run("healthcheck", *config, "--cert", str(pair[0]), cwd=tmp_path)
    assert alone.returncode == 2 and "--key" in alone.stderr, alone
    other = run("healthcheck", *config, "--cert", str(pair[0]), "--key", str(tls.key), cwd=tmp_path)
    assert other.returncode == 1 and "--cert" in other.stderr, other


def impatient(bridges, directory):
    """One that waits a second for its clients."""
    tls = Tls(bridges, directory)
    tls.bridge.sections["server"] = 'body_timeout = "3s"'
    tls.bridge.configure(f'[server.tls]\ncert = "{tls.cert}"\nkey = "{tls.key}"\n' + sources.only("acme"))
    tls.bridge.start()
    return tls


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("said, answer", [(b"", b""), (b"POST /webho", b"HTTP/1.1 408 ")], ids=["nothing", "half"])
def test_a_client_that_falls_silent_after_its_handshake_is_closed(bridges, tmp_path, version, said, answer):
    tls = impatient(bridges, tmp_path)
    started = time.monotonic()
    with tls.connect(minimum_version=version, maximum_version=version) as sock:
        sock.sendall(said)
        got = until_closed(sock)
    assert 2 < time.monotonic() - started < 8
    assert got.startswith(answer) and (got == b"") == (answer == b""), got


def test_a_handshake_that_is_not_finished_is_closed(bridges, tmp_path):
    bridge = impatient(bridges, tmp_path).bridge
    for said in (b"", b"\x16\x03\x01\x02\x00\x01"):
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
            sock.sendall(said)
            try:
                assert sock.recv(1) == b""
            except ConnectionResetError:
                pass
        assert 2 < time.monotonic() - started < 8
