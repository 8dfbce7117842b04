"""Certificates from an authority: ordered, shown, kept, renewed; and what is there while it is away."""

import socket
import ssl
import time

import pytest
from harness import sources
from harness.acme import Pebble
from harness.bridge import run
from harness.certificates import Authority
from harness.http import head, read_answer
from harness.wait import stays, until

NAMES = ["hooks.example.com", "events.example.com"]


class Ordered:
    """A bridge with an authority, which is not started, and who connects to the bridge."""

    def __init__(self, bridges, directory, validity, more=""):
        self.bridge = bridges()
        self.authority = Pebble(directory / "pebble", self.bridge.port, validity)
        names = ", ".join(f'"{name}"' for name in NAMES)
        self.bridge.configure(
            f"[server.tls]\n{more}\n[server.tls.acme]\ndirectory = \"{self.authority.directory_url}\"\n"
            f'domains = [{names}]\ncontact = ["mailto:ops@example.com"]\nca = "{self.authority.ca}"\n' + sources.only("acme")
        )
        checked = run("check", "--config", str(self.bridge.config_path), cwd=directory)
        assert "feature `acme` is off" not in checked.stderr, "build the program with `cargo build --features acme`"
        assert checked.returncode == 0, checked.stderr
        self.pair = None

    def connect(self, name=NAMES[0], alpn=None, root=None):
        context = ssl.create_default_context(cadata=root or self.root)
        if self.pair:
            context.load_cert_chain(*self.pair)
        if alpn:
            context.set_alpn_protocols(alpn)
        plain = socket.create_connection(("127.0.0.1", self.bridge.port), timeout=10)
        try:
            return context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    def start_authority(self):
        self.authority.start()
        self.root = self.authority.root()

    def shows(self):
        """The number of the certificate that is shown; `None`: none of this authority."""
        try:
            with self.connect() as sock:
                return sock.getpeercert()["serialNumber"]
        except (ssl.SSLError, ConnectionError):
            return None

    def post(self, senders, sock):
        one = senders.make("acme")
        sock.sendall(head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body)))]) + one.body)
        answer = read_answer(sock)
        assert answer.status == 200, answer


@pytest.fixture
def ordered(bridges, tmp_path):
    made = []

    def make(**how):
        made.append(Ordered(bridges, tmp_path, **how))
        return made[-1]

    yield make
    for one in made:
        one.authority.stop()


def test_an_authority_gives_a_certificate_which_is_renewed_in_time_and_kept_over_a_restart(ordered, senders):
    one = ordered(validity=60)
    one.start_authority()
    bridge = one.bridge.start()
    first = until(one.shows, 20, "a certificate")
    shown_until = lambda: bridge.metric("hookferry_tls_certificate_not_after_seconds", listener="server")  # noqa: E731
    ends = until(shown_until, what="its end in the figures")
    assert 0 < ends - time.time() <= 60
    with one.connect(NAMES[1], ["h2", "http/1.1"]) as sock:
        assert sock.selected_alpn_protocol() == "http/1.1"
        assert {name for _, name in sock.getpeercert()["subjectAltName"]} == set(NAMES)
        one.post(senders, sock)
    second = until(lambda: (now := one.shows()) != first and now, 60, "the next certificate")
    assert time.time() < ends, "it was renewed before the last one ended"
    until(lambda: shown_until() > ends, what="the new end in the figures")
    assert bridge.metric("hookferry_acme_orders_total", result="success") >= 2

    kept = sorted((bridge.journal_dir / "acme").iterdir())
    assert [file.name.split("-")[0] for file in kept] == ["account", "certificate"]
    assert {file.stat().st_mode & 0o777 for file in kept} == {0o600}
    assert kept[0].parent.stat().st_mode & 0o777 == 0o700
    assert "PRIVATE KEY" not in bridge.logs()

    one.authority.stop()
    bridge.stop()
    bridge.start()
    assert one.shows() == second, "what was kept is shown from the start"
    sent = run("send", "acme", "--config", str(bridge.config_path), cwd=bridge.directory)
    assert sent.returncode == 0, "the commands take the kept certificate for the bridge's own: " + sent.stderr

    bridge.config_path.write_text(bridge.config_path.read_text().replace("mailto:ops", "mailto:others"))
    until(lambda: "server.tls.acme has changed, and takes effect at the next start only" in bridge.log(), what="the reload")
    assert one.shows() == second


def test_without_its_authority_a_bridge_goes_on_with_what_it_has_and_orders_until_it_gets_more(ordered, senders, tmp_path):
    clients = Authority(tmp_path / "clients", "clients")
    one = ordered(validity=36, more=f'client_ca = "{clients.file}"')
    one.pair = tmp_path / "client.pem", tmp_path / "client.key"
    clients.sign(*one.pair, name="client")
    bridge = one.bridge.start()
    failed = lambda: bridge.metric("hookferry_acme_orders_total", result="failure")  # noqa: E731
    until(failed, 10, "a failed order")
    assert "no new certificate from the authority" in bridge.log()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        one.connect(root=one.authority.ca.read_text())

    # The authority's own handshake asks for no certificate of a client, and no one else's goes without.
    one.start_authority()
    first = until(one.shows, 40, "a certificate")
    with one.connect() as sock:
        one.post(senders, sock)
    pair, one.pair = one.pair, None
    with pytest.raises((ssl.SSLError, ConnectionError)), one.connect() as sock:
        one.post(senders, sock)
    with pytest.raises((ssl.SSLError, ConnectionError)), one.connect(alpn=["acme-tls/1"]) as sock:
        one.post(senders, sock)
    one.pair = pair

    one.authority.stop()
    before = failed()
    until(lambda: failed() > before, 40, "a failed renewal")
    stays(lambda: one.shows() == first, 1, "the certificate that is there")
    one.start_authority()
    until(lambda: one.shows() not in (None, first), 40, "the certificate of an authority that is back")


def test_an_order_that_no_authority_takes_is_refused_at_the_start(ordered, tmp_path):
    one = ordered(validity=60)
    text = one.bridge.config_path.read_text()
    wrong = tmp_path / "wrong.toml"
    for before, after, says in [
        ('"hooks.example.com"', '"*.example.com"', "server.tls.acme.domains: `*.example.com`: no handshake proves a wildcard"),
        ('"hooks.example.com"', '"192.0.2.1"', "server.tls.acme.domains: `192.0.2.1` is no name of DNS"),
        ("https://localhost", "http://localhost", "server.tls.acme.directory: `http://localhost"),
        ("mailto:ops", "ops", "server.tls.acme.contact: `ops@example.com` is not as"),
        ("[server.tls]", '[server.tls]\ncert = "a.pem"', "server.tls.cert: the authority of `acme` gives it"),
        ("[server.tls.acme]", "[admin.tls.acme]", "admin.tls.acme: is for the ingress"),
    ]:
        wrong.write_text(text.replace(before, after))
        checked = run("check", "--config", str(wrong), cwd=tmp_path)
        assert checked.returncode == 2 and says in checked.stderr, checked.stderr
