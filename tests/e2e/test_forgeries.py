"""What others have had signed proves nothing here; and what only looks like an earlier event is one of its own."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from harness.vendor import Key, b64url
from test_keys import CERTIFICATE, JSON, TEXT, TOPIC, sns, vendor  # noqa: F401

ACCOUNT = TOPIC.rpartition(":")[0]


def test_a_message_of_a_topic_of_somebody_else_is_not_read_as_one_of_ours(bridges, vendor, tmp_path):
    """Amazon signs what anybody publishes: here a text that holds the names of all members, as if they were some."""
    key = Key(tmp_path, "amazon")
    vendor.pages = {CERTIFICATE: (200, key.certificate.read_bytes())}
    vendor.start()
    source = (
        '[sources.sns]\nprovider = "aws-sns"\n[sources.sns.options]\n'
        f'topic_arns = ["{ACCOUNT}:*"]\nhosts = ["localhost:{vendor.port}"]\n'
    )
    bridge = bridges(source, env=vendor.env).start()
    url = vendor.url(CERTIFICATE)
    assert bridge.post("/webhooks/sns", TEXT, sns(key, url, Message="with\nMessageId\nlines\n")).status == 200
    theirs = {"MessageId": "r", "Timestamp": "2026-01-02T00:00:00.000Z", "TopicArn": "arn:aws:sns:eu-west-1:666:theirs"}
    ours = {"MessageId": "id0", "Timestamp": "2026-01-01T00:00:00.000Z", "TopicArn": TOPIC}
    lines = "".join(f"\n{name}\n{value}" for name, value in ours.items())
    published = json.loads(sns(key, url, Message="forged" + lines, **theirs))
    rest = "".join(f"\n{name}\n{value}" for name, value in theirs.items())
    forged = {**published, **ours, "Message": "forged", "TopicArn": TOPIC + rest}

    def text(message):
        names = ["Message", "MessageId", "Timestamp", "TopicArn", "Type"]
        return "".join(f"{name}\n{message[name]}\n" for name in names)

    assert text(forged) == text(published), "the forgery is none"
    assert bridge.post("/webhooks/sns", TEXT, json.dumps(published).encode()).problem == "signature_mismatch"
    assert bridge.post("/webhooks/sns", TEXT, json.dumps(forged).encode()).problem == "signature_mismatch"
    assert len(bridge.events()) == 1


def jwt(secret, claims):
    head = b64url(b'{"alg":"HS256","typ":"JWT"}') + "." + b64url(json.dumps(claims).encode())
    return head + "." + b64url(hmac.new(secret, head.encode(), hashlib.sha256).digest())


def test_a_token_to_join_a_room_proves_no_event(bridges):
    secret = b"livekit-api-secret"
    source = f'[sources.room]\nprovider = "livekit"\nsecrets = ["literal:{secret.decode()}"]\noptions = {{ key = "API1" }}\n'
    bridge = bridges(source).start()
    body = b'{"event":"room_finished","id":"EV_1","createdAt":"1700000000","room":{"name":"r"}}'
    claims = {"iss": "API1", "exp": int(time.time()) + 60}
    joins = jwt(secret, {**claims, "sub": "guest", "video": {"roomJoin": True}})
    assert bridge.post("/webhooks/room", [*JSON, ("Authorization", joins)], b"").problem == "signature_mismatch"
    assert bridge.post("/webhooks/room", [*JSON, ("Authorization", joins)], body).problem == "signature_mismatch"
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    token = jwt(secret, {**claims, "sha256": digest})
    assert bridge.post("/webhooks/room", [*JSON, ("Authorization", token)], body).status == 200


def test_twilio_signs_the_url_with_the_query_of_the_configuration_and_what_it_adds(bridges):
    secret = b"twilio-token"
    url = "https://hooks.example.com/in?tenant=1"
    bridge = bridges(f'[sources.sms]\nprovider = "twilio"\nsecrets = ["literal:{secret.decode()}"]\npublic_url = "{url}"\n').start()
    body = b'{"MessageStatus":"sent"}'
    more = "&bodySHA256=" + hashlib.sha256(body).hexdigest()

    def post(query, signed):
        signature = base64.b64encode(hmac.new(secret, signed.encode(), hashlib.sha1).digest()).decode()
        return bridge.post(f"/webhooks/sms?{query}", [*JSON, ("X-Twilio-Signature", signature)], body)

    assert post("tenant=1" + more, url + more).status == 200
    for query, signed in [("tenant=1" + more, url), ("tenant=2" + more, url + more), ("tenant=1" + more + "&x=1", url + more)]:
        assert post(query, signed).problem == "signature_mismatch", (query, signed)


def hexmac(secret, body, hash="sha256"):
    return hmac.new(secret, body, hash).hexdigest()


@pytest.mark.parametrize("provider, header, secret, body, id", [
    ("dropbox", "X-Dropbox-Signature", b"app-secret",
     b'{"list_folder":{"accounts":["dbid:AAH"]},"delta":{"users":[12345]}}', None),
    ("clickup", "X-Signature", b"webhook-secret", b'{"event":"folderUpdated","folder_id":"96","webhook_id":"7fa3ec74"}', None),
    ("clickup", "X-Signature", b"webhook-secret", b'{"event":"taskUpdated","task_id":"1","history_items":[{"id":"2e59"}]}', "2e59"),
])  # fmt: skip
def test_events_that_are_equal_to_the_byte_are_each_taken_where_nothing_tells_them_apart(bridges, provider, header, secret, body, id):
    bridge = bridges(f'[sources.a]\nprovider = "{provider}"\nsecrets = ["literal:{secret.decode()}"]\n').start()
    replies = [bridge.post("/webhooks/a", [*JSON, (header, hexmac(secret, body))], body) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 200]
    events = bridge.events()
    if id:
        assert [event["id"] for event in events] == [id], "what has an id is known again by it"
    else:
        assert len({event["id"] for event in events}) == 2
        assert [(event["id"], event["data"]) for event in events] == [(event["deliveryid"], json.loads(body)) for event in events]


def test_one_body_under_two_types_is_two_events(bridges):
    secret, body = b"patreon-secret", b'{"data":{"id":"m1","type":"member"}}'
    bridge = bridges(f'[sources.p]\nprovider = "patreon"\nsecrets = ["literal:{secret.decode()}"]\n').start()
    signed = [*JSON, ("X-Patreon-Signature", hexmac(secret, body, "md5"))]
    for kind in ("members:create", "members:pledge:create", "members:create"):
        assert bridge.post("/webhooks/p", [*signed, ("X-Patreon-Event", kind)], body).status == 200
    assert [event["type"] for event in bridge.events()] == ["patreon.members:create", "patreon.members:pledge:create"]


def test_a_secret_that_is_looked_for_in_a_body_costs_by_the_body_alone(bridges):
    bridge = bridges('[sources.u]\nprovider = "unisender-go"\nsecrets = ["literal:key"]\n').start()
    body = b'{"p":"' + b"a" * (700 << 10) + b'","auth":"' + b"a" * (250 << 10) + b'b"}'
    begun = time.monotonic()
    assert bridge.post("/webhooks/u", JSON, body).problem == "signature_mismatch"
    assert time.monotonic() - begun < 2
