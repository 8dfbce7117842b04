"""Keys that are fetched, pinned or learnt: no source is believed for want of one, none is refused for our lack of one."""

import base64
import hashlib
import hmac
import json
import signal
import stat
import threading
import time

import pytest
from harness.clock import Clock
from harness.vendor import CurveKey, Key, Vendor, b64url
from harness.vendor import paypal as signed_by_paypal
from harness.wait import until

JSON = [("Content-Type", "application/json")]
TEXT = [("Content-Type", "text/plain; charset=UTF-8")]
TOPIC = "arn:aws:sns:eu-west-1:123456789012:orders"
OTHER = '\n[sources.other]\nprovider = "github"\nsecrets = ["literal:other-secret"]\n'
CERTIFICATE = "/SimpleNotificationService-0a1b2c.pem"


@pytest.fixture
def vendor(tmp_path):
    vendor = Vendor(tmp_path)
    yield vendor
    vendor.stop()


def sns(key, url, kind="Notification", version="2", **changes):
    message = {
        "Type": kind,
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": 'Hello\n"é"',
        "Timestamp": "2023-11-14T22:13:20.000Z",
        **changes,
    }
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    signed = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    signature = key.sign(signed.encode(), "sha1" if version == "1" else "sha256")
    message |= {
        "SignatureVersion": version,
        "Signature": base64.b64encode(signature).decode(),
        "SigningCertURL": url,
    }
    return json.dumps(message).encode()


def sns_source(vendor, more=""):
    return (
        '[sources.sns]\nprovider = "aws-sns"\n[sources.sns.options]\n'
        f'topic_arns = ["{TOPIC}"]\nhosts = ["localhost:{vendor.port}"]\n{more}'
    )


def test_an_sns_subscription_is_confirmed_and_its_messages_are_taken(bridges, vendor, tmp_path):
    key = Key(tmp_path, "amazon")
    vendor.pages = {CERTIFICATE: (200, key.certificate.read_bytes()), "/": (200, b"<ConfirmSubscriptionResponse/>")}
    vendor.start()
    bridge = bridges(sns_source(vendor), env=vendor.env).start()
    url = vendor.url(CERTIFICATE)
    subscribe = vendor.url(f"/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336")
    confirmation = sns(key, url, "SubscriptionConfirmation", SubscribeURL=subscribe, Token="2336")
    assert bridge.post("/webhooks/sns", TEXT, confirmation).status == 200
    until(lambda: any(path.startswith("/?Action=ConfirmSubscription") for path in vendor.asked), what="the visit")
    for n, version in enumerate(["1", "2"]):
        reply = bridge.post("/webhooks/sns", TEXT, sns(key, url, version=version, MessageId=f"m-{n}", Subject="s"))
        assert (reply.status, reply.json()["id"]) == (200, f"m-{n}"), reply
    events = bridge.events()
    assert [(event["type"], event["subject"]) for event in events] == [("aws-sns.Notification", TOPIC)] * 2
    assert [path for path in vendor.asked if path == CERTIFICATE] == [CERTIFICATE], "fetched once"

    elsewhere = f"https://localhost:{vendor.port + 1}{CERTIFICATE}"
    asked = len(vendor.asked)
    for body in [
        sns(key, url, TopicArn=TOPIC.replace("orders", "others")),
        sns(key, elsewhere),
        sns(key, vendor.url("/other.pem")),
        # The same certificate under one more name: it would be fetched and kept as often as somebody likes.
        sns(key, url.replace("c.pem", "%63.pem")),
        sns(key, url.replace("/Simple", "//Simple")),
        sns(key, "http://localhost/SimpleNotificationService-0.pem"),
        sns(Key(tmp_path, "mallory"), url),
        sns(key, url).replace(b"Hello", b"Adieu"),
        sns(key, url, "Other"),
        sns(key, url, "SubscriptionConfirmation", SubscribeURL=subscribe, Token="1", TopicArn=TOPIC + "x"),
    ]:
        assert bridge.post("/webhooks/sns", TEXT, body).problem == "signature_mismatch", body
    assert bridge.post("/webhooks/sns", TEXT, b'{"raw":"delivery"}').problem == "signature_missing"
    assert len(vendor.asked) == asked, vendor.asked[asked:]


def test_a_signed_confirmation_of_another_address_is_not_visited(bridges, vendor, tmp_path):
    key = Key(tmp_path, "amazon")
    vendor.pages = {CERTIFICATE: (200, key.certificate.read_bytes()), "/secret": (200, b"")}
    vendor.start()
    bridge = bridges(sns_source(vendor), env=vendor.env).start()
    body = sns(key, vendor.url(CERTIFICATE), "SubscriptionConfirmation", SubscribeURL=vendor.url("/secret"), Token="1")
    assert bridge.post("/webhooks/sns", TEXT, body).status == 200
    assert bridge.post("/webhooks/sns", TEXT, sns(key, vendor.url(CERTIFICATE))).status == 200
    assert "/secret" not in vendor.asked


def test_a_key_that_cannot_be_fetched_is_busy_and_one_that_is_not_there_is_a_mismatch(bridges, vendor, tmp_path):
    key = Key(tmp_path, "amazon")
    bridge = bridges(sns_source(vendor), env=vendor.env).start()
    body = sns(key, vendor.url(CERTIFICATE))
    reply = bridge.post("/webhooks/sns", TEXT, body)
    assert (reply.status, reply.problem) == (503, "key_unavailable")
    assert int(reply.headers["retry-after"]) > 0
    vendor.pages = {CERTIFICATE: (200, key.certificate.read_bytes()), "/SimpleNotificationService-m.pem": (302, vendor.url(CERTIFICATE).encode())}
    vendor.start()
    until(lambda: bridge.post("/webhooks/sns", TEXT, body).status == 200, what="the key is fetched")
    for path, status in [("/SimpleNotificationService-9.pem", 401), ("/SimpleNotificationService-m.pem", 503)]:
        assert bridge.post("/webhooks/sns", TEXT, sns(key, vendor.url(path))).status == status, path
        assert bridge.post("/webhooks/sns", TEXT, sns(key, vendor.url(path))).status == status, path
    assert vendor.asked.count("/SimpleNotificationService-9.pem") == 1, "what is not there is not asked for again"


def from_address(bridge, address, body):
    return bridge.post("/webhooks/sns", [*TEXT, ("X-Forwarded-For", address)], body)


def test_urls_that_a_stranger_makes_up_take_nothing_from_the_sender(bridges, vendor, tmp_path):
    key = Key(tmp_path, "amazon")
    second = CERTIFICATE.replace("0a1b2c", "3d4e5f")
    vendor.pages = {path: (200, key.certificate.read_bytes()) for path in (CERTIFICATE, second)}
    vendor.start()
    bridge = bridges(sns_source(vendor), server='trusted_proxies = ["127.0.0.1/32"]', env=vendor.env).start()
    assert from_address(bridge, "203.0.113.5", sns(key, vendor.url(CERTIFICATE), MessageId="1")).status == 200

    def made_up(first, count):
        return [vendor.url(f"/SimpleNotificationService-{n}.pem") for n in range(first, first + count)]

    message = json.loads(sns(key, vendor.url(CERTIFICATE)))

    def strange(address, urls):
        bodies = [json.dumps({**message, "SigningCertURL": url}).encode() for url in urls]
        return [from_address(bridge, address, body).status for body in bodies]

    assert set(strange("198.51.100.1", made_up(0, 64))) == {401}, "they are looked for, and are not there"
    asked = len(vendor.asked)
    assert set(strange("198.51.100.1", made_up(64, 40))) == {503}, "it has used up what it had"
    assert set(strange("198.51.100.1", made_up(0, 5))) == {401}, "what is known is known"
    assert len(vendor.asked) == asked
    assert bridge.logs().count("requests name too many URLs of keys") == 1
    # Neither the keys that are there nor those that the sender takes next are out of reach.
    assert from_address(bridge, "203.0.113.5", sns(key, vendor.url(CERTIFICATE), MessageId="2")).status == 200
    assert from_address(bridge, "203.0.113.5", sns(key, vendor.url(second), MessageId="3")).status == 200
    assert set(strange("198.51.100.2", made_up(200, 3))) == {401}
    assert [event["id"] for event in bridge.events()] == ["1", "2", "3"]


def test_keys_that_no_authentic_request_has_named_are_thrown_away_and_those_of_the_sender_renewed(
    bridges, vendor, tmp_path
):
    key = Key(tmp_path, "amazon")
    old = CERTIFICATE.replace("0a1b2c", "000000")
    vendor.pages = {path: (200, key.certificate.read_bytes()) for path in (CERTIFICATE, old)}
    vendor.start()
    clock = Clock(tmp_path, timers=True)
    bridge = bridges(sns_source(vendor), env=vendor.env)
    clock.start(bridge)
    forged = sns(Key(tmp_path, "mallory"), vendor.url(old))
    assert bridge.post("/webhooks/sns", TEXT, forged).problem == "signature_mismatch"
    # Fetched for a stranger first: it counts as the sender's once the sender has used it.
    strange = sns(Key(tmp_path, "trudy"), vendor.url(CERTIFICATE))
    assert bridge.post("/webhooks/sns", TEXT, strange).problem == "signature_mismatch"
    assert bridge.post("/webhooks/sns", TEXT, sns(key, vendor.url(CERTIFICATE), MessageId="1")).status == 200
    assert sorted(vendor.asked) == sorted([old, CERTIFICATE])
    bridge.hang_up()
    clock.step(3700)
    until(lambda: vendor.asked.count(CERTIFICATE) == 2, what="the sender's certificate is fetched again")
    assert bridge.post("/webhooks/sns", TEXT, forged).problem == "signature_mismatch"
    assert vendor.asked.count(old) == 2, "a stranger's certificate was kept, or renewed by itself"


def test_a_pinned_certificate_needs_no_network(bridges, vendor, tmp_path):
    key = Key(tmp_path, "amazon")
    url = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b2c.pem"
    bridge = bridges(sns_source(vendor, f'certificates = {{ "{url}" = "file:{key.certificate}" }}')).start()
    assert bridge.post("/webhooks/sns", TEXT, sns(key, url)).status == 200
    other = url.replace("0a1b2c", "ffffff")
    assert bridge.post("/webhooks/sns", TEXT, sns(key, other)).problem == "signature_mismatch"


PAYPAL = b'{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","create_time":"2023-11-14T22:13:20Z","resource":{"id":"8"}}'


def paypal(bridge, key, url, body=PAYPAL, signed=None):
    return bridge.post("/webhooks/pay", [*JSON, *signed_by_paypal(key, url, signed or body).items()], body)


def test_a_certificate_of_paypal_is_fetched_from_its_hosts_alone_and_must_bear_its_name(bridges, vendor, tmp_path):
    key, stranger = Key(tmp_path, "messages.paypal.com"), Key(tmp_path, "paypal.com.example")
    vendor.pages = {
        "/v1/cert-1": (200, key.certificate.read_bytes()),
        "/v1/cert-2": (200, stranger.certificate.read_bytes()),
    }
    vendor.start()
    options = f'webhook_id = "WEBHOOK"\nhosts = ["localhost:{vendor.port}"]\n'
    source = f'[sources.pay]\nprovider = "paypal"\n[sources.pay.options]\n{options}'
    bridge = bridges(source, env=vendor.env).start()
    url = vendor.url("/v1/cert-1")
    assert paypal(bridge, key, url).status == 200
    assert paypal(bridge, key, url, PAYPAL.replace(b"WH-1", b"WH-2")).status == 200
    assert vendor.asked == ["/v1/cert-1"], "fetched once"
    assert paypal(bridge, key, url, PAYPAL + b" ", signed=PAYPAL).problem == "signature_mismatch"
    assert paypal(bridge, stranger, url).problem == "signature_mismatch"
    for elsewhere in [
        f"https://localhost:{vendor.port + 1}/v1/cert-1",
        url.replace("https://", "http://"),
        url.replace("https://", "https://api.paypal.com@"),
        url.replace("https://", "ftp://"),
        "/v1/cert-1",
        "",
    ]:
        assert paypal(bridge, key, elsewhere).status == 401, elsewhere
    assert vendor.asked == ["/v1/cert-1"], "what a request names elsewhere is never asked for"
    reply = paypal(bridge, stranger, vendor.url("/v1/cert-2"))
    assert (reply.status, vendor.asked) == (401, ["/v1/cert-1", "/v1/cert-2"]), "a certificate of another name"
    assert len(bridge.events()) == 2


def truelayer(bridge, key, jku, body=b'{"type":"payment_executed","event_id":"1"}', path="/webhooks/bank", **head):
    head = {"alg": "ES512", "kid": key.name, "tl_version": "2", "tl_headers": "", "jku": jku, **head}
    head = b64url(json.dumps(head).encode())
    payload = b64url(f"POST {path}\n".encode() + body)
    token = f"{head}..{b64url(key.sign(f'{head}.{payload}'.encode()))}"
    return bridge.post("/webhooks/bank", [*JSON, ("Tl-Signature", token)], body)


def test_a_key_set_of_truelayer_is_fetched_from_its_hosts_alone(bridges, vendor, tmp_path):
    key, mallory = CurveKey(tmp_path, "tl-1"), CurveKey(tmp_path, "tl-2")
    jwks = "/.well-known/jwks"
    vendor.pages = {jwks: (200, json.dumps({"keys": [key.jwk()]}).encode())}
    vendor.start()
    source = f'[sources.bank]\nprovider = "truelayer"\noptions = {{ hosts = ["localhost:{vendor.port}"] }}\n'
    bridge = bridges(source, env=vendor.env).start()
    url = vendor.url(jwks)
    assert truelayer(bridge, key, url).status == 200
    assert truelayer(bridge, key, url, b'{"type":"payment_failed","event_id":"2"}').status == 200
    assert vendor.asked == [jwks], "fetched once"
    for refused in [
        truelayer(bridge, mallory, url),
        truelayer(bridge, mallory, url, kid="tl-1"),
        truelayer(bridge, key, url, path="/webhooks/other"),
        truelayer(bridge, key, url, alg="none"),
        truelayer(bridge, key, url, alg="HS512"),
        truelayer(bridge, key, url, tl_version="1"),
        truelayer(bridge, key, vendor.url("/keys")),
        truelayer(bridge, key, f"https://localhost:{vendor.port + 1}{jwks}"),
        truelayer(bridge, key, url.replace("https", "http")),
    ]:
        assert refused.status == 401, refused
    assert set(vendor.asked) == {jwks}


def test_an_answer_that_is_too_large_too_slow_or_a_redirect_gives_no_key(bridges, vendor, tmp_path):
    key = CurveKey(tmp_path, "tl-1")
    good = json.dumps({"keys": [key.jwk()]}).encode()
    over = threading.Event()

    def endless():
        yield good
        while not over.is_set():
            yield b" " * 65536

    def dripping():
        yield good[:10]
        while not over.wait(0.5):
            yield b" "

    jwks = "/.well-known/jwks"
    source = f'[sources.bank]\nprovider = "truelayer"\noptions = {{ hosts = ["localhost:{vendor.port}"] }}\n'
    vendor.start()
    bridge = bridges(source, env=vendor.env).start()
    vendor.pages = {"/else": (200, good)}
    for page, said in [
        ((200, good + b" " * (256 << 10)), "length limit exceeded"),
        ((200, endless), "length limit exceeded"),
        ((200, dripping), "no whole answer within 5 s"),
        ((302, vendor.url("/else").encode()), "302"),
    ]:
        vendor.pages[jwks] = page
        before = bridge.logs().count(said)
        began = time.monotonic()
        reply = until(lambda: truelayer(bridge, key, vendor.url(jwks)), what="an answer")
        assert (reply.status, reply.problem) == (503, "key_unavailable"), said
        assert time.monotonic() - began < 8, said
        until(lambda: bridge.logs().count(said) > before or said in bridge.logs(), what=said)
        # The keeper asks a URL that did not answer once a second at most.
        time.sleep(1.1)
    over.set()
    assert "/else" not in vendor.asked, "a redirect is not followed"
    vendor.pages[jwks] = (200, good)
    until(lambda: truelayer(bridge, key, vendor.url(jwks)).status == 200, what="the key is taken once the answer is right")


def pubsub(vendor):
    return (
        '[sources.push]\nprovider = "google-pubsub"\n[sources.push.options]\naudience = "me"\n'
        f'service_account = "push@example.com"\njwks = "{vendor.url("/keys")}"\n'
    )


def push(bridge, key, message, claims=None, ahead=0, **header):
    own = {"aud": "me", "iss": "accounts.google.com", "email": "push@example.com", "email_verified": True}
    claims = {**own, **(claims or {})}
    now = int(time.time()) + ahead
    token = key.jwt({**claims, "iat": now, "exp": now + 300}, **header)
    body = json.dumps({"message": {"messageId": message, "data": ""}, "subscription": "s"}).encode()
    return bridge.post("/webhooks/push", [*JSON, ("Authorization", f"Bearer {token}")], body)


def test_a_key_set_is_fetched_renewed_for_a_new_key_and_kept_while_its_server_is_down(bridges, vendor, tmp_path):
    old, new, other = (Key(tmp_path, name) for name in ("old", "new", "other"))
    vendor.pages = {"/keys": (200, json.dumps({"keys": [old.jwk()]}).encode())}
    vendor.start()
    bridge = bridges(pubsub(vendor), env=vendor.env).start()
    assert push(bridge, old, "1").status == 200
    assert push(bridge, new, "2").problem == "signature_mismatch", "it is not in the set, which is fresh"
    assert push(bridge, other, "2", kid="old").problem == "signature_mismatch", "not made by the key of that name"
    assert push(bridge, old, "2", alg="none").problem == "signature_mismatch"
    assert push(bridge, old, "2", alg="HS256").problem == "signature_mismatch"
    # Google signs for everybody: whose account it is, and for whom, decides.
    for claims in [{"email": "push@example.org"}, {"email_verified": False}, {"aud": "you"}, {"iss": "example.com"}]:
        assert push(bridge, old, "2", claims).problem == "signature_mismatch", claims
    vendor.pages = {"/keys": (200, json.dumps({"keys": [old.jwk(), new.jwk()]}).encode())}
    until(lambda: push(bridge, new, "3").status == 200, what="the new key is believed", every=0.5)
    vendor.stop()
    for key in (old, new):
        assert push(bridge, key, f"4-{key.name}").status == 200
    assert len(vendor.asked) <= 3, "unknown keys cause few fetches"


def test_fetched_keys_outlive_a_reload_while_their_server_is_down_and_are_fetched_again_once_it_is_up(
    bridges, vendor, tmp_path
):
    old, new = (Key(tmp_path, name) for name in ("old", "new"))
    vendor.pages = {"/keys": (200, json.dumps({"keys": [old.jwk()]}).encode())}
    vendor.start()
    bridge = bridges(pubsub(vendor), env=vendor.env).start()
    assert push(bridge, old, "1").status == 200
    vendor.stop()
    bridge.configure(pubsub(vendor) + OTHER)
    bridge.signal(signal.SIGHUP)
    until(lambda: bridge.post("/webhooks/other", JSON, b"{}").status == 401, what="the reload")
    assert push(bridge, old, "2").status == 200, "the keys were thrown away"
    vendor.pages = {"/keys": (200, json.dumps({"keys": [new.jwk()]}).encode())}
    vendor.start()
    until(lambda: push(bridge, new, "3").status == 200, what="the keys are fetched again", every=0.2)
    # Another place of the keys: those of the first one count no more.
    bridge.configure(pubsub(vendor).replace("/keys", "/others"))
    bridge.signal(signal.SIGHUP)
    until(lambda: bridge.post("/webhooks/other", JSON, b"{}").status == 404, what="the reload")
    assert push(bridge, new, "4").problem == "key_unavailable"


def test_keys_are_fetched_again_every_hour_without_a_request_and_kept_where_that_fails(bridges, vendor, tmp_path):
    first, second, third = (Key(tmp_path, name) for name in ("first", "second", "third"))

    def serve(*keys):
        vendor.pages = {"/keys": (200, json.dumps({"keys": [key.jwk() for key in keys]}).encode())}

    clock = Clock(tmp_path, timers=True)

    def step(seconds):
        """The bridge's clock and timers; a connection that waits is at the end of its time by that."""
        bridge.hang_up()
        clock.step(clock.ahead + seconds)

    def refresh(after):
        """Steps, and waits for a fetch that no request has asked for."""
        before = len(vendor.asked)
        step(after)
        until(lambda: len(vendor.asked) > before, what="keys are fetched")

    serve(first)
    vendor.start()
    bridge = bridges(pubsub(vendor), env=vendor.env)
    clock.start(bridge)
    assert push(bridge, first, "1").status == 200
    assert vendor.asked == ["/keys"], "fetched at the start"
    serve(second)
    step(3000)
    assert push(bridge, first, "2", ahead=clock.ahead).status == 200
    assert vendor.asked == ["/keys"], "the hour is not over"
    refresh(700)
    until(lambda: bridge.logs().count("keys fetched from") == 2, what="the second key set")
    vendor.stop()
    # With its server away there is no other way to know them.
    assert push(bridge, second, "3", ahead=clock.ahead).status == 200, "the new key was not known before its request"
    assert push(bridge, first, "4", ahead=clock.ahead).problem == "signature_mismatch", "the old key is withdrawn"

    step(3700)
    until(lambda: "cannot be had" in bridge.logs(), what="a word of the failure")
    assert push(bridge, second, "5", ahead=clock.ahead).status == 200, "the keys were thrown away"
    for page in [(500, b""), (404, b""), (200, b"<html>"), (200, b'{"keys":[]}')]:
        vendor.pages = {"/keys": page}
        if vendor.server is None:
            vendor.start()
        said = bridge.logs().count("cannot be had")
        refresh(70)
        until(lambda: bridge.logs().count("cannot be had") > said, what="a word of the failure")
        assert push(bridge, second, f"6-{page}", ahead=clock.ahead).status == 200, page
    serve(third)
    refresh(70)
    until(lambda: bridge.logs().count("keys fetched from") == 3, what="the third key set")
    vendor.stop()
    assert push(bridge, third, "7", ahead=clock.ahead).status == 200


def test_a_key_set_that_was_never_there_is_busy_until_it_is(bridges, vendor, tmp_path):
    key = Key(tmp_path, "key")
    bridge = bridges(pubsub(vendor), env=vendor.env).start()
    assert push(bridge, key, "1").problem == "key_unavailable"
    vendor.pages = {"/keys": (200, json.dumps({"keys": [key.jwk()]}).encode())}
    vendor.start()
    until(lambda: push(bridge, key, "1").status == 200, what="the key set is fetched")


def asana(bridge, secret, query=""):
    return bridge.post(f"/webhooks/tasks{query}", [*JSON, ("X-Hook-Secret", secret)], b"")


def asana_event(bridge, secret, body=b'{"events":[{"action":"changed"}]}', query=""):
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return bridge.post(f"/webhooks/tasks{query}", [*JSON, ("X-Hook-Signature", signature)], body)


def test_a_secret_that_asana_shows_is_remembered_and_only_the_first(bridges):
    bridge = bridges('[sources.tasks]\nprovider = "asana"\n').start()
    assert asana_event(bridge, "first-secret").problem == "signature_mismatch"
    reply = asana(bridge, "first-secret")
    assert (reply.status, reply.headers["x-hook-secret"]) == (200, "first-secret")
    assert asana_event(bridge, "first-secret").status == 200
    assert asana(bridge, "second-secret").status == 200
    assert asana_event(bridge, "second-secret").problem == "signature_mismatch"
    kept = bridge.journal_dir / "secrets" / "tasks.learnt"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    bridge.kill()
    bridge.start()
    assert asana_event(bridge, "first-secret", b'{"events":[]}').status == 200
    assert len(bridge.events()) == 2, "handshakes are not ferried"
    assert "first-secret" not in bridge.logs() and "second-secret" not in bridge.logs()


def test_a_learnt_secret_outlives_a_reload_that_names_another_journal(bridges, tmp_path):
    bridge = bridges('[sources.tasks]\nprovider = "asana"\n').start()
    assert asana(bridge, "first-secret").status == 200
    here, bridge.journal_dir = bridge.journal_dir, tmp_path / "elsewhere"
    bridge.configure('[sources.tasks]\nprovider = "asana"\n' + OTHER)
    bridge.signal(signal.SIGHUP)
    until(lambda: bridge.post("/webhooks/other", JSON, b"{}").status == 401, what="the reload")
    assert "journal.dir has changed, and takes effect at the next start only" in bridge.logs()
    assert asana_event(bridge, "first-secret").status == 200, "the secret was looked for elsewhere"
    assert asana(bridge, "second-secret").status == 200
    assert asana_event(bridge, "second-secret").status == 401, "a stranger's secret was believed"
    assert not bridge.journal_dir.exists()
    assert (here / "secrets" / "tasks.learnt").read_text() == "first-secret\n"
    bridge.journal_dir = here


def test_a_configured_secret_or_token_closes_the_door(bridges):
    bridge = bridges(
        '[sources.tasks]\nprovider = "asana"\nsecrets = ["literal:configured-one"]\n'
        '[sources.open]\nprovider = "asana"\npath = "/webhooks/token"\noptions = { token = "letmein" }\n'
    ).start()
    assert asana(bridge, "shown-secret").status == 200
    assert asana_event(bridge, "shown-secret").status == 401
    assert asana_event(bridge, "configured-one").status == 200
    for query, secret, learns in [("", "a-secret", False), ("?token=no", "b-secret", False), ("?token=letmein", "c-secret", True), ("?token=letmein", "d-secret", True)]:
        bridge.post(f"/webhooks/token{query}", [*JSON, ("X-Hook-Secret", secret)], b"")
        body = json.dumps({"events": [{"action": secret}]}).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        reply = bridge.post(f"/webhooks/token{query}", [*JSON, ("X-Hook-Signature", signature)], body)
        assert (reply.status == 200) == learns, (query, reply)


def test_the_token_that_notion_shows_is_put_where_the_operator_finds_it_and_not_believed(bridges):
    bridge = bridges('[sources.notes]\nprovider = "notion"\n').start()
    token = "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"
    shown = json.dumps({"verification_token": token}).encode()
    assert bridge.post("/webhooks/notes", JSON, shown).status == 200
    file = bridge.journal_dir / "secrets" / "notes.captured"
    assert file.read_text() == f"{token}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in bridge.logs() and token not in bridge.logs()
    body = b'{"id":"1","type":"page.created"}'
    signed = [*JSON, ("X-Notion-Signature", "sha256=" + hmac.new(token.encode(), body, hashlib.sha256).hexdigest())]
    assert bridge.post("/webhooks/notes", signed, body).problem == "signature_mismatch"
    bridge.stop()
    bridge.configure(f'[sources.notes]\nprovider = "notion"\nsecrets = ["file:{file}"]\n')
    bridge.start()
    assert bridge.post("/webhooks/notes", signed, body).status == 200
    assert [event["type"] for event in bridge.events()] == ["notion.page.created"]
    # Whoever posts a token now or later replaces neither the file nor the secret.
    evil = json.dumps({"verification_token": "evil"}).encode()
    assert bridge.post("/webhooks/notes", JSON, evil).status == 200
    assert file.read_text() == f"{token}\n"
    forged = [*JSON, ("X-Notion-Signature", "sha256=" + hmac.new(b"evil", body, hashlib.sha256).hexdigest())]
    assert bridge.post("/webhooks/notes", forged, body).problem == "signature_mismatch"
    file.unlink()
    assert bridge.post("/webhooks/notes", JSON, evil).status == 200
    assert not file.exists(), "a source with a secret asks for no other"


def test_a_token_that_is_shown_before_the_operator_has_acted_does_not_replace_the_one_that_is_there(bridges):
    bridge = bridges('[sources.notes]\nprovider = "notion"\n').start()
    file = bridge.journal_dir / "secrets" / "notes.captured"
    for token in ["secret_a", "evil", "secret_a"]:
        shown = json.dumps({"verification_token": token}).encode()
        assert bridge.post("/webhooks/notes", JSON, shown).status == 200
        assert file.read_text() == "secret_a\n"
    assert bridge.logs().count("remove it") == 1
    assert "evil" not in bridge.logs()
