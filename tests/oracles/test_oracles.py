"""Every provider whose vendor ships a library: what that library signs or accepts, the bridge accepts, and what is
refused is refused by both.

Each test runs against one bridge with all those sources. Two directions are proven:
- `hookferry send` signs, the vendor's library judges (`vendors.mjs`; `harness/anymail.py`), and the bridge answers;
- where the library signs, it signs and the bridge judges.
"""

import os
import time

import pytest

from harness.bridge import Bridge, run
from harness.catalogue import providers
from harness.oracles import Oracles, awkward
from harness.recorder import Recorder, Request
from harness.sources import unique

CATALOGUE = providers()
_oracles = Oracles(os.environ.get("HOOKFERRY_TEST_NODE", "node"))
VENDORS = _oracles.vendors()
_oracles.close()

SHARED = [name for name, vendor in VENDORS.items() if "key" not in vendor]
SIGNERS = [name for name, vendor in VENDORS.items() if vendor["signs"]]


# What the operator sets at these sources, and what these vendors add to the URL.
OPTIONS = {
    "google-pubsub": {
        "audience": "https://hooks.example.com",
        "service_account": "push@project.iam.gserviceaccount.com",
    },
    "livekit": {"key": "key"},
    "atlassian-connect": {"key": "client-key"},
    "kinde": {"domain": "acme.kinde.com"},
}
QUERY = {"mercadopago": "?data.id=999999999&type=payment"}


@pytest.fixture(scope="module")
def bridge(tmp_path_factory, oracles):
    config = "".join(
        CATALOGUE[name].source(
            CATALOGUE[name].secret(), CATALOGUE[name].secret("old"), key=vendor.get("key"), options=OPTIONS.get(name)
        )
        for name, vendor in oracles.vendors().items()
    )
    bridge = Bridge(tmp_path_factory.mktemp("oracles"), config)
    bridge.start()
    yield bridge
    bridge.close()


@pytest.fixture(scope="module")
def recorder(bridge):
    recorder = Recorder(bridge.port)
    yield recorder
    recorder.close()


@pytest.fixture
def send(recorder, tmp_path):
    """Runs `hookferry send` with one secret; gives the request as it went over the wire, with the bridge's answer."""

    def send(name, secret, *arguments, body=None):
        provider = CATALOGUE[name]
        config = tmp_path / "send.toml"
        config.write_text(provider.source(secret, options=OPTIONS.get(name)))
        if body is not None:
            (tmp_path / "body").write_bytes(body)
            arguments = ("body", *arguments)
        url = f"http://127.0.0.1:{recorder.port}{provider.path}{QUERY.get(name, '')}"
        done = run("send", name, *arguments, "--config", "send.toml", "--url", url, cwd=tmp_path)
        sent = recorder.take()
        assert len(sent) == 1, done.stderr
        request = sent[0].of(url=provider.public_url + QUERY.get(name, ""))
        return request, done.returncode

    return send


def accepted(what, request):
    provider = CATALOGUE[request.target.split("?")[0].rsplit("/", 1)[-1]]
    assert request.reply.status == provider.success_status, f"{what}: {request.reply}"


@pytest.mark.parametrize("name", SHARED)
def test_the_vendors_library_accepts_what_send_signs_and_so_does_the_bridge(name, send, oracles):
    provider, vendor = CATALOGUE[name], VENDORS[name]
    secret = provider.secret()
    plain, status = send(name, secret)
    assert status == 0
    accepted(name, plain)
    verdict = oracles.judge(name, secret, plain)
    assert verdict[0], verdict
    for what, body in awkward(plain.body):
        if what == "numbers" and "single" in provider.verify:
            continue  # The items are counted by a reader that takes no number past the range of a double.
        request, status = send(name, secret, body=body)
        # Where the signature or the time stands in the body, that place is the sender's.
        in_body = "body" in {**provider.verify.get("signature", {}), **provider.verify.get("timestamp", {})}
        assert in_body or request.body == body
        accepted(what, request)
        if not vendor["compact"]:
            verdict = oracles.judge(name, secret, request)
            assert verdict[0], (what, verdict)


@pytest.mark.parametrize("name", SHARED)
def test_an_older_secret_is_believed_and_a_strangers_is_not(name, send, oracles):
    provider = CATALOGUE[name]
    request, status = send(name, provider.secret("old"))
    assert status == 0
    accepted(name, request)
    assert oracles.judge(name, provider.secret("old"), request)[0]
    request, _ = send(name, provider.secret("foreign"))
    assert (request.reply.status, request.reply.problem) == (401, "signature_mismatch")
    assert not oracles.judge(name, provider.secret(), request)[0]


@pytest.mark.parametrize("name", SHARED)
def test_the_vendors_library_and_the_bridge_refuse_the_same(name, send, oracles):
    provider, vendor = CATALOGUE[name], VENDORS[name]
    for fault, code in provider.faults().items():
        request, status = send(name, provider.secret(), "--fault", fault)
        assert (request.reply.status, request.reply.problem) == (401, code), fault
        assert status == 0, fault
        if fault not in vendor["lenient"]:
            assert not oracles.judge(name, provider.secret(), request)[0], fault


@pytest.mark.parametrize("name", SIGNERS)
def test_the_bridge_accepts_what_the_vendors_library_signs(name, bridge, oracles):
    provider = CATALOGUE[name]

    def post(body, *, secret="current", timestamp=None, change=None):
        timestamp = int(time.time()) if timestamp is None else timestamp
        request = Request("POST", provider.path + QUERY.get(name, ""), sample_headers(provider), body, provider.public_url)
        request = oracles.signed(name, provider.secret(secret), request, timestamp=timestamp, message=unique("msg_"))
        if change:
            request = change(request)
        return request.of(reply=bridge.post(request.target, request.headers, request.body))

    plain = provider.contract["sample"]["body"].strip().encode()
    no_range = "single" in provider.verify
    bodies = [plain, *(body for what, body in awkward(plain) if not (no_range and what == "numbers"))]
    for body in bodies:
        accepted(name, post(body))
    if "key" not in VENDORS[name]:
        accepted(name, post(plain, secret="old"))
        refused(post(plain, secret="foreign"), "signature_mismatch")
    if provider.covers_body:
        refused(post(plain, change=lambda r: r.of(body=r.body + b" ")), "signature_mismatch")
    if provider.is_timed:
        window = 2 * 86_400
        refused(post(plain, timestamp=int(time.time()) - window), "timestamp_out_of_tolerance")
        if provider.verify["kind"] != "jwt":
            refused(post(plain, timestamp=int(time.time()) + window), "timestamp_out_of_tolerance")


def sample_headers(provider):
    headers = {"content-type": "application/json", **provider.contract["sample"].get("headers", {})}
    return list(headers.items())


def refused(request, code):
    assert (request.reply.status, request.reply.problem) == (401, code)


def test_at_least_sixty_vendors_are_asked():
    assert len(VENDORS) >= 60
    assert set(VENDORS) <= set(CATALOGUE)
