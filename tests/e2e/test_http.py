"""The ingress as a sender sees it: every answer of the contract, and that no request makes it misbehave."""

import base64
import json
import socket
import threading
import time

import pytest
from harness import sources
from harness.http import head, raw, read_answer, until_closed
from harness.secrets import ENV
from harness.sources import NAMES, unique, with_header
from harness.wait import until

SIGNATURES = {
    "code": "X-Hub-Signature-256",
    "pay": "Stripe-Signature",
    "chat": "X-Slack-Signature",
    "shop": "X-Shopify-Hmac-Sha256",
    "lab": "webhook-signature",
    "ai": "webhook-signature",
    "std": "webhook-signature",
    "acme": "X-Acme-Signature",
}
STAMPED = [name for name in NAMES if name not in ("code", "shop")]


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    """One bridge for the tests of this file that need no configuration of their own; events stay in its journal."""
    from harness.bridge import Bridge

    bridge = Bridge(
        tmp_path_factory.mktemp("http"),
        sources.CONFIG
        + """
[sources.fenced]
provider  = "github"
secrets   = ["env:GITHUB_SECRET"]
allow_ips = ["192.0.2.0/24", "2001:db8::/32"]

[sources.open]
provider  = "github"
secrets   = ["env:GITHUB_SECRET"]
allow_ips = ["127.0.0.0/8"]
path      = "/in/here"
""",
        server='max_body = "64KiB"\nbody_timeout = "1s"',
    ).start()
    try:
        yield bridge
    finally:
        bridge.close()


def send(bridge, sent, headers=None, body=None):
    return bridge.post(sent.path, headers or sent.headers, sent.body if body is None else body)


def refused(reply, status, code):
    assert (reply.status, reply.problem) == (status, code), reply


# Accepted, duplicate


@pytest.mark.parametrize("source", NAMES)
def test_a_redelivery_is_acknowledged_as_a_duplicate_and_kept_once(bridge, senders, source):
    one = senders.make(source)
    first = send(bridge, one)
    assert (first.status, first.json()) == (200, {"status": "accepted", "id": one.id})
    assert first.headers["content-type"].split(";")[0] == "application/json"
    # Providers sign a redelivery anew where the signature holds a time.
    if source in STAMPED:
        again = senders.make(source, one.body, id=one.id, type=one.type.partition(".")[2], timestamp=int(time.time()) + 1)
    else:
        again = one
    for request in (one, again, one):
        reply = send(bridge, request)
        assert (reply.status, reply.json()) == (200, {"status": "duplicate", "id": one.id})
    kept = [event for event in bridge.events(source=source) if event["id"] == one.id]
    assert len(kept) == 1


def test_the_same_unsigned_id_with_another_body_is_another_event(bridge, senders):
    """Else whoever holds one valid body could make GitHub's other events vanish."""
    one = senders.make("code", b'{"n":1}')
    other = senders.make("code", b'{"n":2}', id=one.id)
    assert one.id == other.id
    assert send(bridge, one).json()["status"] == "accepted"
    assert send(bridge, other).json()["status"] == "accepted"
    assert send(bridge, one).json()["status"] == "duplicate"
    assert [event["data"] for event in bridge.events(source="code") if event["id"] == one.id] == [{"n": 1}, {"n": 2}]


def test_a_body_without_an_event_id_is_known_again_by_its_hash(bridge, senders):
    one = senders.make("acme", json.dumps({"type": "order.created", "n": unique("n")}).encode())
    headers = with_header(one.headers, "X-Acme-Id", None)
    assert send(bridge, one, headers).json()["status"] == "accepted"
    assert send(bridge, one, headers).json()["status"] == "duplicate"


def test_the_same_id_at_two_sources_is_two_events(bridge, senders):
    one = senders.make("std")
    other = senders.make("ai", one.body, id=one.id, type="invoice.paid")
    assert send(bridge, one).json()["status"] == "accepted"
    assert send(bridge, other).json()["status"] == "accepted"


def test_racing_copies_give_one_event(bridge, senders):
    one = senders.make("std")
    count, answers = 50, []
    barrier = threading.Barrier(count)

    def copy():
        request = head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body)))]) + one.body
        with socket.create_connection(("127.0.0.1", bridge.port), timeout=20) as sock:
            barrier.wait(20)
            sock.sendall(request)
            answers.append(read_answer(sock))

    threads = [threading.Thread(target=copy) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [reply.status for reply in answers] == [200] * count
    assert sorted(reply.json()["status"] for reply in answers) == ["accepted"] + ["duplicate"] * (count - 1)
    assert len([event for event in bridge.events(source="std") if event["id"] == one.id]) == 1


def test_dedup_window_zero_takes_every_delivery(bridges, senders):
    config = sources.only("std").replace("[sources.std]\n", '[sources.std]\ndedup_window = "0s"\n')
    bridge = bridges(config).start()
    one = senders.make("std")
    assert [send(bridge, one).json()["status"] for _ in range(3)] == ["accepted"] * 3
    assert len({event["sequence"] for event in bridge.events()}) == 3


def test_a_source_may_set_its_statuses(bridges, senders):
    config = sources.only("std").replace("[sources.std]\n", "[sources.std]\nsuccess_status = 202\n")
    bridge = bridges(config).start()
    one = senders.make("std")
    assert [send(bridge, one).status for _ in range(2)] == [202, 202]


# Signatures


@pytest.mark.parametrize("source", NAMES)
def test_a_request_without_a_signature_is_refused(bridge, senders, source):
    one = senders.make(source)
    refused(send(bridge, one, with_header(one.headers, SIGNATURES[source], None)), 401, "signature_missing")


@pytest.mark.parametrize("source", NAMES)
def test_a_request_that_another_secret_signed_is_refused(bridge, senders, source):
    other = {"lab": "std", "ai": "std", "std": "ai"}.get(source)
    secret = sources.SECRETS[other][1] if other else "another secret"
    refused(send(bridge, senders.make(source, secret=secret)), 401, "signature_mismatch")


@pytest.mark.parametrize("source", NAMES)
def test_a_body_changed_by_one_byte_is_refused(bridge, senders, source):
    one = senders.make(source)
    for body in (one.body + b" ", one.body[:-1], one.body.replace(b'"', b"'", 1), b"", one.body.replace(b" ", b"  ", 1)):
        refused(send(bridge, one, body=body), 401, "signature_mismatch")


@pytest.mark.parametrize("source", STAMPED)
def test_a_signature_is_accepted_within_the_tolerance_and_refused_outside_on_both_sides(bridge, senders, source):
    now = int(time.time())
    for distance in (-290, 290):
        assert send(bridge, senders.make(source, timestamp=now + distance)).status == 200
    for distance in (-310, 310, -86_400, 10 * 365 * 86_400):
        refused(send(bridge, senders.make(source, timestamp=now + distance)), 401, "timestamp_out_of_tolerance")


@pytest.mark.parametrize("source", STAMPED)
def test_the_time_of_a_signature_cannot_be_changed(bridge, senders, source):
    now = int(time.time())
    one = senders.make(source, timestamp=now - 200)
    headers = [(name, value.replace(str(now - 200), str(now - 1))) for name, value in one.headers]
    assert headers != one.headers
    refused(send(bridge, one, headers), 401, "signature_mismatch")


@pytest.mark.parametrize("source", ["lab", "ai", "std"])
def test_a_signed_id_cannot_be_changed(bridge, senders, source):
    one = senders.make(source)
    refused(send(bridge, one, with_header(one.headers, "webhook-id", "msg_other")), 401, "signature_mismatch")


@pytest.mark.parametrize("source", NAMES)
def test_odd_signature_headers_are_refused_and_break_nothing(bridge, senders, source):
    one = senders.make(source)
    good = dict(one.headers)[SIGNATURES[source]]
    odd = ["", " ", ",", "=", "v1=", "v1,", "t=,v1=", "v0=", "sha256=", "sha1=" + "0" * 40, "sha256=" + "0" * 63,
           "sha256=" + "g" * 64, "v2" + good[2:], good[:-1], good + "00", good[::-1], "x" * 4000, "\xff\xfe",
           "t=1,v1=" + "0" * 64, "t=99999999999999999999,v1=0", "v1,====", "t=-1,v1=00", "v1," * 1000]  # fmt: skip
    # One signature in some thousands begins as its spoilt copy does.
    for value in (value for value in odd if value != good):
        reply = send(bridge, one, with_header(one.headers, SIGNATURES[source], value))
        assert reply.status == 401, (value, reply)
        assert reply.problem in ("signature_missing", "signature_mismatch", "timestamp_out_of_tolerance")
    assert send(bridge, one).json()["status"] == "accepted"


@pytest.mark.parametrize("source", ["chat", "lab", "ai", "std"])
def test_odd_timestamps_are_refused(bridge, senders, source):
    name = "X-Slack-Request-Timestamp" if source == "chat" else "webhook-timestamp"
    for value in ("", "0", "-1", "now", "1e9", "99999999999999999999999", "1795447967.5", "\xb9", None):
        one = senders.make(source)
        reply = send(bridge, one, with_header(one.headers, name, value))
        assert reply.status == 401, (value, reply)


@pytest.mark.parametrize("source", ["code", "shop", "chat", "pay"])
def test_a_signature_header_that_stands_twice_is_refused(bridge, senders, source):
    """A proxy in front may look at the other one."""
    one = senders.make(source)
    name = SIGNATURES[source]
    good = dict(one.headers)[name]
    bad = senders.make(source, secret="another secret")
    other = dict(bad.headers)[name]
    rest = with_header(one.headers, name, None)
    for values in ((good, other), (other, good), (good, good)):
        reply = send(bridge, one, [*rest, *((name, value) for value in values)])
        assert reply.status == 401, (values, reply)


@pytest.mark.parametrize("source", ["lab", "ai", "std"])
def test_a_list_of_signatures_in_one_header_is_searched(bridge, senders, source):
    name = "webhook-signature"
    one = senders.make(source)
    good = dict(one.headers)[name]
    other = "v1," + "A" * 43 + "="
    for value in (f"{other} {good}", f"{good} {other}", f"v1a,{other[3:]} {good}"):
        one = senders.make(source)
        good = dict(one.headers)[name]
        value = " ".join(part if part.startswith(("v1a", other)) else good for part in value.split(" "))
        assert send(bridge, one, with_header(one.headers, name, value)).status == 200, value


def test_a_list_of_stripe_signatures_is_searched(bridge, senders):
    one = senders.make("pay")
    time_part, good = dict(one.headers)["Stripe-Signature"].split(",")
    zeros = "v1=" + "0" * 64
    assert send(bridge, one, with_header(one.headers, "Stripe-Signature", f"{time_part},{zeros},{good}")).status == 200
    two = senders.make("pay")
    time_part, good = dict(two.headers)["Stripe-Signature"].split(",")
    only_v0 = f"{time_part},{good.replace('v1=', 'v0=')}"
    assert send(bridge, two, with_header(two.headers, "Stripe-Signature", only_v0)).status == 401


def test_any_of_two_secrets_verifies_while_one_is_rotated(bridge, senders):
    new = senders.make("code")
    old = senders.make("code", secret=ENV["GITHUB_OLD_SECRET"])
    assert send(bridge, new).status == 200
    assert send(bridge, old).status == 200


def test_a_refusal_says_which_of_three_and_never_more(bridge, senders):
    one = senders.make("pay")
    seen = set()
    for headers in (
        with_header(one.headers, "Stripe-Signature", None),
        with_header(one.headers, "Stripe-Signature", dict(one.headers)["Stripe-Signature"][:-4] + "0000"),
        senders.make("pay", one.body, timestamp=1_700_000_000).headers,
    ):
        reply = send(bridge, one, headers)
        assert reply.status == 401
        text = reply.body.decode()
        seen.add(reply.problem)
        for name in ENV:
            assert name not in text
        assert dict(one.headers)["Stripe-Signature"].split("v1=")[1] not in text
    assert seen == {"signature_missing", "signature_mismatch", "timestamp_out_of_tolerance"}


def test_nothing_that_is_refused_reaches_the_journal(bridges, senders):
    bridge = bridges(sources.CONFIG).start()
    for source in NAMES:
        one = senders.make(source)
        send(bridge, one, with_header(one.headers, SIGNATURES[source], None))
        send(bridge, one, body=one.body + b" ")
    kept = senders.make("std")
    assert send(bridge, kept).status == 200
    assert [event["id"] for event in bridge.events()] == [kept.id]


# Handshake


def test_slack_gets_its_challenge_back_and_only_when_it_is_signed(bridge, senders):
    before = len(bridge.events(source="chat"))
    body = b'{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}'
    one = senders.make("chat", body)
    reply = send(bridge, one)
    assert reply.status == 200
    given = reply.body.decode()
    if reply.headers["content-type"].startswith("application/json"):
        given = json.loads(given)["challenge"]
    assert given == "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"
    refused(send(bridge, one, with_header(one.headers, "X-Slack-Signature", None)), 401, "signature_missing")
    refused(send(bridge, senders.make("chat", body, secret="other")), 401, "signature_mismatch")
    assert len(bridge.events(source="chat")) == before, "a handshake is no event"
    assert bridge.metric("hookferry_requests_total", source="chat", outcome="handshake") == 1


# Paths, methods, networks


def test_an_unknown_path_is_404(bridge, senders):
    one = senders.make("code")
    for path in ("/", "/webhooks", "/webhooks/", "/webhooks/nobody", "/webhooks/codex", "/webhooks/code/x",
                 "/webhooks/../webhooks/nobody", "/Webhooks/code", "/livez", "/v1/events", "/metrics"):  # fmt: skip
        refused(bridge.post(path, one.headers, one.body), 404, "unknown_source")


def test_a_query_behind_the_path_does_not_matter(bridge, senders):
    one = senders.make("code")
    assert bridge.post(one.path + "?x=1&y=%2F", one.headers, one.body).status == 200


def test_a_wrong_method_is_405_and_says_which_is_right(bridge, senders):
    one = senders.make("code")
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "PURGE"):
        reply = bridge.request(method, one.path, one.headers, b"")
        assert reply.status == 405, (method, reply)
        assert "POST" in reply.headers["allow"]
        if method != "HEAD":
            assert reply.problem == "method_not_allowed"
    # A path of nobody is unknown whatever the method.
    assert bridge.request("GET", "/webhooks/nobody").status == 404


def test_a_network_that_is_not_allowed_is_403(bridge, senders):
    one = senders.make("code")
    refused(bridge.post("/webhooks/fenced", one.headers, one.body), 403, "address_not_allowed")
    # Nobody vouches for this header.
    for name, value in (("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=192.0.2.7")):
        refused(bridge.post("/webhooks/fenced", [*one.headers, (name, value)], one.body), 403, "address_not_allowed")
    assert bridge.post("/in/here", one.headers, one.body).status == 200
    refused(bridge.post("/webhooks/open", one.headers, one.body), 404, "unknown_source")


def test_a_trusted_proxy_is_believed_about_the_last_hop_only(bridges, senders):
    bridge = bridges(
        sources.only("code").replace("[sources.code]\n", '[sources.code]\nallow_ips = ["192.0.2.0/24"]\n'),
        server='trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]',
    ).start()
    cases = [
        ([("X-Forwarded-For", "192.0.2.7")], 200),
        ([("X-Forwarded-For", "192.0.2.7, 10.1.1.1")], 200),
        ([("X-Forwarded-For", "192.0.2.7, 203.0.113.9")], 403),
        ([("X-Forwarded-For", "203.0.113.9, 192.0.2.7")], 200),
        ([("Forwarded", 'for="192.0.2.7:4711";proto=https')], 200),
        ([("Forwarded", "for=192.0.2.7, for=203.0.113.9")], 403),
        ([("X-Forwarded-For", "not an address")], 403),
        # Proxies write one of the two and pass on what a client put into the other.
        ([("Forwarded", "for=192.0.2.7"), ("X-Forwarded-For", "203.0.113.9")], 403),
        ([("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=203.0.113.9")], 403),
        ([("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=192.0.2.7")], 200),
        ([], 403),
    ]
    for headers, status in cases:
        one = senders.make("code")
        assert bridge.post(one.path, one.headers + headers, one.body).status == status, headers
    ips = [event["clientip"] for event in bridge.events()]
    assert ips == ["192.0.2.7"] * 5


# Sizes, encodings, slow senders


def test_a_body_over_the_limit_is_413(bridge, senders):
    fits = senders.make("acme", b'{"type":"order.created","x":"' + b"y" * (65_536 - 31) + b'"}')
    assert len(fits.body) == 65_536
    assert send(bridge, fits).status == 200
    over = senders.make("acme", fits.body + b" ")
    refused(send(bridge, over), 413, "body_too_large")


def test_a_declared_length_over_the_limit_is_413_before_the_body_is_sent(bridge, senders):
    one = senders.make("acme")
    request = head("POST", one.path, [*one.headers, ("Content-Length", str(10**12))])
    refused(raw(bridge.port, request, timeout=5), 413, "body_too_large")


def test_a_chunked_body_without_length_over_the_limit_is_413(bridge, senders):
    one = senders.make("acme")
    request = head("POST", one.path, [*one.headers, ("Transfer-Encoding", "chunked")])
    chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
        sock.sendall(request)
        try:
            for _ in range(4096):  # 32 MiB, far more than both sides' buffers
                sock.sendall(chunk)
                sent += len(chunk)
        except (ConnectionResetError, BrokenPipeError):
            pass
        try:
            refused(read_answer(sock), 413, "body_too_large")
        except ConnectionResetError:
            # The answer may be lost when the server closes on a sender that does not listen.
            assert sent < 32 << 20
    until(lambda: bridge.metric("hookferry_requests_total", source="acme", outcome="body_too_large") >= 1)


def test_a_chunked_body_within_the_limit_is_accepted(bridge, senders):
    one = senders.make("acme")
    chunks = [one.body[:5], one.body[5:6], one.body[6:]]
    coded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in chunks) + b"0\r\n\r\n"
    request = head("POST", one.path, [*one.headers, ("Transfer-Encoding", "chunked")])
    assert raw(bridge.port, request, coded).status == 200


def test_an_unknown_content_encoding_is_415(bridge, senders):
    for encoding in ("compress", "snappy", "gzip, foo", "rot13"):
        one = senders.make("acme")
        one.headers.append(("Content-Encoding", encoding))
        refused(send(bridge, one), 415, "unsupported_media_type")
    one = senders.make("acme")
    one.headers.append(("Content-Encoding", "identity"))
    assert send(bridge, one).status == 200


def test_a_body_that_stalls_is_408(bridge, senders):
    one = senders.make("acme")
    for framing in (("Content-Length", str(len(one.body))), ("Transfer-Encoding", "chunked")):
        request = head("POST", one.path, [*one.headers, framing])
        started = time.monotonic()
        reply = raw(bridge.port, request + (one.body[:3] if "Length" in framing[0] else b"3\r\n" + one.body[:3]), timeout=15)
        refused(reply, 408, "body_timeout")
        assert 0.8 < time.monotonic() - started < 8


def test_a_body_that_drips_is_408_too(bridge, senders):
    one = senders.make("acme")
    request = head("POST", one.path, [*one.headers, ("Content-Length", "60000")])
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=15) as sock:
        sock.sendall(request)
        started = time.monotonic()
        sock.settimeout(0.1)
        while time.monotonic() - started < 10:
            try:
                sock.sendall(b"x")
                if sock.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        took = time.monotonic() - started
        assert took < 8, "a byte now and then keeps the request open"
        sock.settimeout(5)
        refused(read_answer(sock), 408, "body_timeout")


def test_silent_and_half_sent_requests_are_closed_and_others_served_meanwhile(bridge, senders):
    sockets = [socket.create_connection(("127.0.0.1", bridge.port), timeout=20) for _ in range(60)]
    try:
        for number, sock in enumerate(sockets):
            if number % 3 == 1:
                sock.sendall(b"POST /webhooks/acme HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            elif number % 3 == 2:
                sock.sendall(b"PO")
        for _ in range(20):
            started = time.monotonic()
            assert send(bridge, senders.make("acme")).status == 200
            assert time.monotonic() - started < 1
        for sock in sockets:
            sock.settimeout(20)
            answer = until_closed(sock)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 408") or b" 400 " in answer[:20], answer[:80]
    finally:
        for sock in sockets:
            sock.close()


def test_a_client_that_hangs_up_after_the_body_does_not_cancel_its_event(bridge, senders):
    sent = [senders.make("acme") for _ in range(30)]
    for one in sent:
        request = head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body)))])
        with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
            sock.sendall(request + one.body)
    ids = {one.id for one in sent}
    until(lambda: ids <= {event["id"] for event in bridge.events(source="acme")}, what="every event in the journal")


def test_a_client_that_hangs_up_within_the_body_leaves_nothing(bridge, senders):
    one = senders.make("acme")
    request = head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body)))])
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
        sock.sendall(request + one.body[:-1])
    after = senders.make("acme")
    assert send(bridge, after).status == 200
    ids = [event["id"] for event in bridge.events(source="acme")]
    assert after.id in ids
    assert one.id not in ids


def test_pipelined_requests_are_answered_in_order(bridge, senders):
    sent = [senders.make("acme") for _ in range(10)]
    wire = b"".join(
        head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body)))]) + one.body for one in sent
    )
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
        sock.sendall(wire)
        stream = sock.makefile("rb")
        for one in sent:
            assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := stream.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            assert json.loads(stream.read(length)) == {"status": "accepted", "id": one.id}


def test_expect_continue_is_answered(bridge, senders):
    one = senders.make("acme")
    request = head(
        "POST", one.path, [*one.headers, ("Content-Length", str(len(one.body))), ("Expect", "100-continue")]
    )
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as sock:
        sock.sendall(request)
        assert sock.recv(25, socket.MSG_PEEK).startswith(b"HTTP/1.1 100 ")
        line = b""
        while not line.endswith(b"\r\n\r\n"):
            line += sock.recv(1)
        sock.sendall(one.body)
        assert read_answer(sock).status == 200


def test_requests_that_could_be_smuggled_are_refused(bridge, senders):
    one = senders.make("acme")
    base = [("Host", "x"), *[pair for pair in one.headers if pair[0] != "Host"]]
    length = ("Content-Length", str(len(one.body)))
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(one.body), one.body)
    cases = [
        ([*base, length, ("Content-Length", "3")], one.body),
        ([*base, ("Content-Length", "+5")], one.body),
        ([*base, ("Content-Length", "-5")], one.body),
        ([*base, ("Content-Length", "0x10")], one.body),
        ([*base, length, ("Transfer-Encoding", "chunked")], chunked),
        ([*base, ("Transfer-Encoding", "chunked, identity")], chunked),
        ([*base, ("Transfer-Encoding", "xchunked")], chunked),
        ([*base, ("Transfer-Encoding", " chunked"), ("X y", "1")], chunked),
    ]
    for headers, body in cases:
        try:
            reply = raw(bridge.port, head("POST", one.path, headers) + body, timeout=8, half_close=True)
        except (ConnectionResetError, Exception) as failure:
            assert not isinstance(failure, AssertionError)
            continue
        assert 400 <= reply.status < 500, (headers, reply)
    assert send(bridge, one).json()["status"] == "accepted", "one of them got through"


def test_nothing_a_client_sends_gives_a_redirect_a_gone_or_a_server_error(bridge, senders):
    one = senders.make("acme")
    length = ("Content-Length", str(len(one.body)))
    heads = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET //evil.example/%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /webhooks/acme HTTP/1.0\r\n\r\n",
        b"POST /webhooks/acme HTTP/1.1\r\n\r\n",
        b"POST /webhooks/%00 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"POST /webhooks/%ff%fe HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"POST http://other.example/webhooks/acme HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        head("POST", one.path, [*one.headers, length, ("X-Long", "y" * 20_000)]) + one.body,
        head("POST", one.path, [*one.headers, length, *((f"X-{n}", "y") for n in range(200))]) + one.body,
        head("POST", one.path, [*one.headers, length, ("Content-Type", "text/html")]) + one.body,
        head("POST", one.path + "?" + "q" * 9000, [*one.headers, length]) + one.body,
        head("POST", one.path, [("Host", "x"), length, ("Content-Type", "\xff\xfe")]) + one.body,
    ]
    for request in heads:
        try:
            reply = raw(bridge.port, request, timeout=10, half_close=True)
        except Exception:
            continue  # closed without an answer
        assert reply.status < 500 and not 300 <= reply.status < 400 and reply.status != 410, (request[:60], reply)
    assert bridge.admin("GET", "/readyz").status == 200


def test_json_that_breaks_parsers_is_ferried_and_breaks_nothing(bridges, senders):
    bridge = bridges(sources.CONFIG).start()
    bodies = [
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"type":"order.created","n":' + b"9" * 20_000 + b"}",
        b'{"type":"\\ud800"}',
        b'{"type":"order\\u0000created"}',
        b'{"type":"' + b"t" * 30_000 + b'"}',
        b'{"\\u0000":1}',
    ]
    for body in bodies:
        reply = send(bridge, senders.make("acme", body))
        assert reply.status == 200, (body[:40], reply)
    # Nested deeper than a consumer's parser goes, a body travels as base64.
    page = bridge.admin("GET", "/v1/events?source=acme&limit=1000").body
    for number, body in enumerate(bodies):
        coded = base64.b64encode(body)
        assert b'"data":' + body + b"}" in page or (number < 2 and b'"data_base64":"' + coded + b'"' in page), body[:40]
    assert send(bridge, senders.make("acme")).status == 200


def test_outcomes_are_counted_by_source_and_never_by_what_senders_invent(bridges, senders):
    bridge = bridges(sources.CONFIG).start()
    one = senders.make("code")
    send(bridge, one)
    send(bridge, one)
    send(bridge, one, body=b"{}")
    for number in range(50):
        bridge.post(f"/webhooks/nobody{number}", one.headers, one.body)
        bridge.post(one.path, with_header(one.headers, "X-GitHub-Event", f"event{number}"), one.body)
    counted = {
        outcome: bridge.metric("hookferry_requests_total", source="code", outcome=outcome)
        for outcome in ("accepted", "duplicate", "signature_mismatch")
    }
    assert counted["accepted"] >= 1 and counted["duplicate"] >= 1 and counted["signature_mismatch"] == 1
    assert bridge.metric("hookferry_requests_total", outcome="unknown_source") == 50
    samples = bridge.metrics()
    assert not [name for name in samples if "nobody" in name or "event1" in name]
    assert bridge.metric("hookferry_ack_seconds_count", source="code") >= 52


def test_a_stop_under_load_refuses_or_finishes_and_never_cuts_an_answer(bridges, senders):
    bridge = bridges(sources.only("acme")).start()
    accepted, odd, stopping = [], [], threading.Event()

    def sender():
        while not stopping.is_set():
            one = senders.make("acme")
            request = head("POST", one.path, [*one.headers, ("Content-Length", str(len(one.body)))]) + one.body
            try:
                reply = raw(bridge.port, request, timeout=10)
            except (ConnectionRefusedError, ConnectionResetError):
                continue
            except Exception as failure:
                odd.append(repr(failure))
                continue
            if reply.status == 200:
                accepted.append(one.id)
            elif (reply.status, reply.problem) != (503, "shutting_down"):
                odd.append(reply)

    threads = [threading.Thread(target=sender) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(accepted) > 100, what="some load")
    assert bridge.stop() == 0
    stopping.set()
    for thread in threads:
        thread.join(30)
    assert not [what for what in odd if "RemoteDisconnected" not in str(what)], odd[:3]
    bridge.start()
    assert set(accepted) <= {event["id"] for event in bridge.events()}
