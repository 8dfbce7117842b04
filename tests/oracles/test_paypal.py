"""PayPal's own Python library as a judge: what it accepts the bridge accepts, and what it refuses the bridge refuses.

The library goes out for the certificate that a request names, holds it against a chain and a name, then the signature
against it. All of that runs here as it is delivered, over https. Replaced are the roots of two chains alone: those of
the server's certificate, by `REQUESTS_CA_BUNDLE`, and the two certificates of DigiCert's in the library, which sign no
certificate of ours. The bridge is given the same by `SSL_CERT_FILE` and `trusted_roots`.
"""

import json

import paypalrestsdk
import pytest
from harness.bridge import Bridge
from harness.certificates import Authority
from harness.oracles import awkward
from harness.vendor import Key, Vendor, paypal

# Its way to check a signature, which went from pyOpenSSL after the version that is pinned.
pytestmark = pytest.mark.filterwarnings("ignore:verify:DeprecationWarning")

WEBHOOK = "1JE4291016473214C"
EVENT = b"""{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","create_time":"2023-11-14T22:13:20Z","resource":{"id":"8"}}"""


class PayPal:
    """PayPal's keys, where their certificates are, and both that judge what is signed by them."""

    def __init__(self, directory):
        authority, stranger = Authority(directory / "authority"), Authority(directory / "stranger")
        self.authority = authority
        self.key = Key(directory, "messageverificationcerts.paypal.com", authority)
        (directory / "other").mkdir()
        self.of_a_stranger = Key(directory / "other", "messageverificationcerts.paypal.com", stranger)
        self.of_another_name = Key(directory, "paypal.com.example", authority)
        keys = {"1": self.key, "2": self.of_a_stranger, "3": self.of_another_name}
        pages = {f"/v1/notifications/certs/CERT-{n}": (200, key.certificate.read_bytes()) for n, key in keys.items()}
        self.here, self.elsewhere = Vendor(directory), Vendor(directory)
        self.elsewhere.tls = self.here.tls
        for vendor in (self.here, self.elsewhere):
            vendor.pages = pages
            vendor.start()
        options = {"webhook_id": WEBHOOK, "hosts": [f"localhost:{self.here.port}"], "trusted_roots": f"file:{authority.file}"}
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items())
        source = f'[sources.paypal]\nprovider = "paypal"\n[sources.paypal.options]\n{lines}'
        self.bridge = Bridge(directory / "bridge", source, env=self.here.env)
        self.bridge.start()

    def url(self, number, of=None):
        return (of or self.here).url(f"/v1/notifications/certs/CERT-{number}")

    def sign(self, body=EVENT, *, key=None, url=None, webhook=WEBHOOK):
        return paypal(key or self.key, url or self.url(1), body, webhook=webhook)

    def verdicts(self, headers, body=EVENT):
        """Whether the library accepts it, and whether the bridge does."""
        h = {name.removeprefix("paypal-"): value for name, value in headers.items()}
        library = paypalrestsdk.WebhookEvent.verify(
            h["transmission-id"], h["transmission-time"], WEBHOOK, body.decode(), h["cert-url"],
            h["transmission-sig"], h["auth-algo"],
        )  # fmt: skip
        reply = self.bridge.post("/webhooks/paypal", [("content-type", "application/json"), *headers.items()], body)
        assert reply.status in (200, 401), reply
        return library, reply.status == 200

    def close(self):
        self.bridge.close()
        self.here.stop()
        self.elsewhere.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = PayPal(tmp_path_factory.mktemp("paypal"))
    yield world
    world.close()


@pytest.fixture(autouse=True)
def roots(world, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(world.here.tls.certificate))
    monkeypatch.setattr(paypalrestsdk.WebhookEvent, "_WebhookEvent__cert_chain_path", [str(world.authority.file)])


def test_the_library_and_the_bridge_accept_what_paypal_signs(world):
    assert world.verdicts(world.sign()) == (True, True)
    for what, body in awkward(EVENT):
        assert world.verdicts(world.sign(body), body) == (True, True), what


def test_the_library_and_the_bridge_refuse_the_same(world):
    right = world.sign()
    other = {
        "another body": (right, EVENT.replace(b"WH-1", b"WH-2")),
        "another blank": (right, EVENT + b"\n"),
        "another web hook": (world.sign(webhook="1JE4291016473214D"), EVENT),
        "another delivery": ({**right, "paypal-transmission-id": "69cd13f1"}, EVENT),
        "another time": ({**right, "paypal-transmission-time": "2023-11-14T22:13:20Z"}, EVENT),
        "the signature of another body": ({**right, "paypal-transmission-sig": world.sign(b"{}")["paypal-transmission-sig"]}, EVENT),
        "no signature": ({**right, "paypal-transmission-sig": "AAAA"}, EVENT),
        "another key": (world.sign(key=world.of_a_stranger), EVENT),
        "another authority": (world.sign(key=world.of_a_stranger, url=world.url(2)), EVENT),
        "another name": (world.sign(key=world.of_another_name, url=world.url(3)), EVENT),
    }
    for what, (headers, body) in other.items():
        assert world.verdicts(headers, body) == (False, False), what
    assert world.verdicts(right) == (True, True)


def test_the_bridge_fetches_from_paypals_hosts_alone_where_the_library_goes_anywhere(world):
    headers = world.sign(url=world.url(1, of=world.elsewhere))
    assert world.verdicts(headers) == (True, False)
    assert len(world.elsewhere.asked) == 1, "the library asked there, and the bridge did not"
