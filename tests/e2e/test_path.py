"""From a vendor's signed request to the queue: what is accepted, what the consumer reads, and where it goes."""

import base64
import gzip
import hashlib
import json
import re
import zlib
from datetime import datetime, timedelta, timezone

import brotli
import pytest
import zstandard
from conftest import sqs_backend
from harness import sources
from harness.brokers import SqsReader
from harness.load import data_bytes
from harness.sources import NAMES, unique
from harness.wait import until

REQUIRED = {
    "specversion", "id", "source", "type", "time", "datacontenttype", "recordedtime", "sequence", "deliveryid",
    "provider", "verification", "bodysha256",
}  # fmt: skip
OPTIONAL = {"subject", "partitionkey", "traceparent", "tracestate", "clientip", "httpheaders"}

# Bodies that a parser would change: order, spacing, numbers, escapes, repeated keys, line ends.
AWKWARD = [
    b'{"type":"order.created","n":1}',
    b'{\r\n  "type" : "order.created",\r\n  "n" : 1.10\r\n}',
    b'{"type":"order.created","big":123456789012345678901234567890,"e":1E400,"z":-0.0}',
    b'{"type":"order.created","caf\\u00e9":"\\ud83d\\ude00","plain":"caf\xc3\xa9 \xf0\x9f\x98\x80"}',
    b'{"b":1,"a":2,"b":3,"type":"order.created"}',
    b'{"type":"order.created","text":"a\\/b \\u003c\\u2028"}\n',
    b' \t{"type":"order.created"}\r\n\r\n',
    b'{"type":"order.created","deep":' + b"[" * 100 + b"]" * 100 + b"}",
    b'{"type":"order.created","text":"]} ,\\"data\\":{"}',
    b'{"type":"order.created","data":{"data":"data"},"empty":{},"none":null}',
]


@pytest.fixture
def fan_out(bridges, to_redis, to_rabbit, to_sqs):
    """A bridge with the eight sources that publishes to Redis, RabbitMQ and SQS at once."""
    return bridges(sources.CONFIG + to_redis + to_rabbit + to_sqs).start()


def accept(bridge, sent):
    reply = bridge.post(sent.path, sent.headers, sent.body)
    assert reply.status == 200, (sent.source, reply, bridge.log())
    assert reply.json() == {"status": "accepted", "id": sent.id}, sent.source
    return reply


def read_redis(redis, stream, count):
    return until(
        lambda: (lambda found: found if len(found) >= count else None)(redis.entries(stream)),
        what=f"{count} entries in {stream}",
    )


def read(reader, count, seconds=20):
    """What a queue gives until it has given `count` messages."""
    def enough():
        found = reader.drain()
        return found if len(found) >= count else None

    return until(enough, seconds, f"{count} messages")


def is_rfc3339_utc(text):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", text), text
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def check_event(event, sent):
    """Every attribute of the envelope of one accepted request."""
    assert REQUIRED <= event.keys(), REQUIRED - event.keys()
    assert event.keys() <= REQUIRED | OPTIONAL | {"data", "data_base64"}, event.keys()
    assert all(isinstance(value, str) for key, value in event.items() if key != "data")
    assert event["specversion"] == "1.0"
    assert event["id"] == sent.id
    assert event["source"] == f"urn:webhook:{sent.source}"
    assert event["type"] == sent.type
    assert event["provider"] == sent.provider
    assert event["verification"] == "hmac-sha256"
    assert event["datacontenttype"] == dict(sent.headers)["Content-Type"]
    assert event["bodysha256"] == hashlib.sha256(sent.body).hexdigest()
    assert re.fullmatch(r"[0-9]{20}", event["sequence"])
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", event["deliveryid"])
    received = is_rfc3339_utc(event["recordedtime"])
    assert abs(datetime.now(timezone.utc) - received) < timedelta(minutes=5)
    is_rfc3339_utc(event["time"])


def test_every_source_reaches_every_backend_with_every_attribute(
    fan_out, senders, redis, stream, rabbit_reader, sqs_reader
):
    sent = [senders.make(name) for name in NAMES for _ in range(2)]
    for one in sent:
        accept(fan_out, one)
    count = len(sent)

    entries = read_redis(redis, stream, count)
    assert [set(entry) for entry in entries] == [{b"id", b"type", b"event"}] * count
    for entry, one in zip(entries, sent, strict=True):
        assert entry[b"id"].decode() == one.id
        assert entry[b"type"].decode() == one.type
        check_event(json.loads(entry[b"event"]), one)
        assert data_bytes(entry[b"event"]) == one.body

    texts = [entry[b"event"] for entry in entries]
    sequences = [json.loads(text)["sequence"] for text in texts]
    assert sequences == sorted(set(sequences)), "the stream is not in the order of acceptance"

    messages = read(rabbit_reader(), count)
    assert [body for _, body in messages] == texts
    for (properties, body), one in zip(messages, sent, strict=True):
        assert properties.content_type == "application/cloudevents+json"
        assert properties.message_id == one.id
        assert properties.type == one.type
        assert properties.delivery_mode == 2
        assert properties.timestamp == int(is_rfc3339_utc(json.loads(body)["time"]).timestamp())

    # A standard queue keeps no order.
    got = {message["Body"].encode(): message for message in read(sqs_reader, count)}
    assert got.keys() == set(texts)
    for text, one in zip(texts, sent, strict=True):
        attributes = {k: (v["DataType"], v["StringValue"]) for k, v in got[text]["MessageAttributes"].items()}
        assert attributes == {
            "id": ("String", one.id),
            "type": ("String", one.type),
            "source": ("String", f"urn:webhook:{one.source}"),
            "provider": ("String", one.provider),
            "contentType": ("String", "application/cloudevents+json"),
        }
    fan_out.wait_drained("main", "rabbit", "orders")


def test_a_consumer_knows_when_where_and_how_an_event_came(bridges, senders, redis, stream, to_redis):
    bridge = bridges(sources.CONFIG + to_redis).start()
    trace = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "vendor=opaque"),
    ]
    github = senders.make("code")
    github.headers += trace
    stripe = senders.make("pay", body=None)
    created = json.loads(stripe.body)["created"]
    standard = senders.make("std")
    for one in (github, stripe, standard):
        accept(bridge, one)
    first, second, third = [json.loads(entry[b"event"]) for entry in read_redis(redis, stream, 3)]

    assert first["traceparent"] == trace[0][1]
    assert first["tracestate"] == trace[1][1]
    assert first["clientip"] == "127.0.0.1"
    kept = json.loads(first["httpheaders"])
    assert kept == {
        "x-github-event": "push", "x-github-delivery": github.id, "x-github-hook-id": "292430182",
    }  # fmt: skip
    assert not any("signature" in name for name in kept)

    assert int(is_rfc3339_utc(second["time"]).timestamp()) == created
    assert is_rfc3339_utc(third["time"]) == datetime(2026, 11, 23, 10, tzinfo=timezone.utc)
    assert "traceparent" not in second
    received = [is_rfc3339_utc(event["recordedtime"]) for event in (first, second, third)]
    assert received == sorted(received)


def test_a_signature_is_never_among_the_kept_headers(bridges, senders, redis, stream, to_redis):
    config = sources.CONFIG.replace('headers  = ["x-github-*"]', 'headers  = ["*"]')
    bridge = bridges(config + to_redis).start()
    one = senders.make("code")
    accept(bridge, one)
    event = json.loads(read_redis(redis, stream, 1)[0][b"event"])
    kept = json.loads(event["httpheaders"])
    assert "x-github-event" in kept
    assert "x-hub-signature-256" not in kept
    assert dict(one.headers)["X-Hub-Signature-256"] not in event["httpheaders"]


def test_every_example_payload_of_github_arrives_byte_for_byte(bridges, senders, oracles, redis, stream, to_redis):
    bridge = bridges(sources.only("code") + to_redis).start()
    sent = []
    for number, (event, body) in enumerate(oracles.github_examples()):
        if number % 2:
            # GitHub itself sends compact JSON; spacing must not matter.
            body = json.dumps(json.loads(body), indent=2).replace("\n", "\r\n").encode()
        sent.append(senders.make("code", body, type=event))
        accept(bridge, sent[-1])
    assert len(sent) > 500
    entries = read_redis(redis, stream, len(sent))
    assert len(entries) == len(sent)
    for entry, one in zip(entries, sent, strict=True):
        check_event(json.loads(entry[b"event"]), one)
        assert data_bytes(entry[b"event"]) == one.body


@pytest.mark.parametrize("source", [name for name in NAMES if name not in ("pay", "chat")])
def test_bodies_that_a_parser_would_change_arrive_unchanged(bridges, senders, redis, stream, to_redis, source):
    bridge = bridges(sources.CONFIG + to_redis).start()
    sent = [senders.make(source, body, type=_type_of(source)) for body in AWKWARD]
    for one in sent:
        accept(bridge, one)
    entries = read_redis(redis, stream, len(sent))
    for entry, one in zip(entries, sent, strict=True):
        assert data_bytes(entry[b"event"]) == one.body
        event = json.loads(entry[b"event"])
        assert event["bodysha256"] == hashlib.sha256(one.body).hexdigest()
        assert event["type"] == one.type


@pytest.mark.parametrize("source", ["pay", "chat"])
def test_bodies_that_hold_the_id_arrive_unchanged(bridges, senders, redis, stream, to_redis, source):
    bridge = bridges(sources.CONFIG + to_redis).start()
    templates = {
        "pay": '{"id":"%s","type":"invoice.paid","created":1795447967%s}',
        "chat": '{"type":"event_callback","event":{"type":"invoice.paid"},"event_id":"%s","event_time":1795447967%s}',
    }
    tails = [', "big":12345678901234567890.10', ',"a":1,"a":2', ',\r\n\t"caf\\u00e9" : "\u00e9"', ',"x":"\\ud83d\\ude00"']
    sent = []
    for tail in tails:
        event = unique("evt_")
        body = (templates[source] % (event, tail) + "\r\n").encode()
        sent.append(senders.make(source, body, id=event, type="invoice.paid"))
        accept(bridge, sent[-1])
    for entry, one in zip(read_redis(redis, stream, len(sent)), sent, strict=True):
        assert data_bytes(entry[b"event"]) == one.body
        assert json.loads(entry[b"event"])["type"] == one.type


def _type_of(source):
    return "order.created" if source in ("ai", "std", "acme") else None


def test_binary_messages_carry_the_raw_body_and_the_attributes_beside_it(
    bridges, senders, sqs, redis, stream, rabbit_reader, sqs_reader, to_redis, to_rabbit, to_sqs
):
    binary = 'format = "binary"\n'
    bridge = bridges(
        sources.CONFIG + to_redis + binary + to_rabbit + binary + to_sqs + binary
    ).start()
    sent = [senders.make("code", body, type="push") for body in AWKWARD]
    for one in sent:
        accept(bridge, one)

    entries = read_redis(redis, stream, len(sent))
    for entry, one in zip(entries, sent, strict=True):
        attributes = {key.decode(): value.decode() for key, value in entry.items() if key != b"data"}
        assert entry[b"data"] == one.body
        check_event(attributes, one)

    messages = read(rabbit_reader(), len(sent))
    for (properties, body), one in zip(messages, sent, strict=True):
        assert body == one.body
        assert properties.content_type == "application/json"
        assert properties.message_id == one.id
        # x-… are the broker's own.
        headers = {name: value for name, value in properties.headers.items() if not name.startswith("x-")}
        assert [name for name in headers if not name.startswith("cloudEvents:")] == []
        attributes = {name.removeprefix("cloudEvents:"): value for name, value in headers.items()}
        attributes.setdefault("datacontenttype", properties.content_type)
        check_event(attributes, one)

    got = {message["Body"].encode(): message for message in read(sqs_reader, len(sent))}
    for one in sent:
        # SQS stores text, and these bodies are text.
        attributes = {k: v["StringValue"] for k, v in got[one.body]["MessageAttributes"].items()}
        assert len(attributes) <= 10
        assert attributes["id"] == one.id
        assert attributes["type"] == one.type
        assert attributes["source"] == f"urn:webhook:{one.source}"
        assert attributes["specversion"] == "1.0"


def test_an_authentic_body_that_is_not_json_is_ferried_as_base64(bridges, senders, redis, stream, to_redis):
    bridge = bridges(sources.CONFIG + to_redis).start()
    bodies = [b"hello, world", b"\x00\xff\xfe\x80 binary", b'{"type":"order.created"', b"", b'{"a":1} trailing',
              b'\xef\xbb\xbf{"type":"x"}', b'{"type":"\xff"}', b"NaN"]  # fmt: skip
    sent = []
    for body in bodies:
        one = senders.make("acme", body, content_type="application/octet-stream")
        one.headers = [pair for pair in one.headers if pair[0] != "X-Acme-Id"]
        reply = bridge.post(one.path, one.headers, body)
        assert reply.status == 200, (body, reply)
        digest = hashlib.sha256(body).hexdigest()
        assert reply.json() == {"status": "accepted", "id": digest}
        sent.append((body, digest))
    for entry, (body, digest) in zip(read_redis(redis, stream, len(sent)), sent, strict=True):
        event = json.loads(entry[b"event"])
        assert "data" not in event
        assert base64.b64decode(event["data_base64"]) == body
        assert event["id"] == digest == event["bodysha256"]
        assert event["type"] == "acme.unknown"


def test_json_without_an_id_or_a_type_is_ferried_under_the_hash_of_its_body(bridges, senders, redis, stream, to_redis):
    bridge = bridges(sources.CONFIG + to_redis).start()
    for body in (b'{"no":"type"}', b'{"type":7}', b"[1,2]", b'"text"', b"17"):
        one = senders.make("acme", body)
        one.headers = [pair for pair in one.headers if pair[0] != "X-Acme-Id"]
        reply = bridge.post(one.path, one.headers, body)
        assert reply.status == 200
        assert reply.json()["id"] == hashlib.sha256(body).hexdigest()
    events = [entry[b"event"] for entry in read_redis(redis, stream, 5)]
    assert json.loads(events[0])["type"] == "acme.unknown"
    assert json.loads(events[2])["type"] == "acme.unknown"
    assert data_bytes(events[2]) == b"[1,2]"
    assert data_bytes(events[3]) == b'"text"'


def test_a_vendors_text_body_is_verified_and_ferried_too(bridges, senders, redis, stream, to_redis):
    """Each vendor's own SDK signs a body that is not JSON."""
    bridge = bridges(sources.CONFIG + to_redis).start()
    names = ["code", "pay", "chat", "shop", "lab", "ai", "std"]
    for name in names:
        one = senders.make(name, f"not json for {name}\n".encode(), content_type="text/plain")
        reply = bridge.post(one.path, one.headers, one.body)
        assert reply.status == 200, (name, reply)
    events = [json.loads(entry[b"event"]) for entry in read_redis(redis, stream, len(names))]
    assert [base64.b64decode(event["data_base64"]).decode() for event in events] == [
        f"not json for {name}\n" for name in names
    ]
    # Without a type outside the body there is none.
    by_source = {event["source"]: event["type"] for event in events}
    for source, provider in [("pay", "stripe"), ("chat", "slack"), ("ai", "openai"), ("std", "standard-webhooks")]:
        assert by_source[f"urn:webhook:{source}"] == f"{provider}.unknown"


ENCODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_compressed_body_is_signed_as_sent_and_ferried_decoded(bridges, senders, redis, stream, to_redis, encoding):
    bridge = bridges(sources.CONFIG + to_redis, server='max_body = "64KiB"').start()
    plain = json.dumps({"type": "order.created", "text": "ünï" * 1000}).encode()
    wire = ENCODINGS[encoding](plain)
    one = senders.make("acme", wire)
    one.headers.append(("Content-Encoding", encoding))
    accept(bridge, one)
    (entry,) = read_redis(redis, stream, 1)
    assert data_bytes(entry[b"event"]) == plain
    assert json.loads(entry[b"event"])["type"] == "acme.order.created"

    # A signature over the decoded body does not count.
    over_plain = senders.make("acme", plain)
    over_plain.headers.append(("Content-Encoding", encoding))
    reply = bridge.post(over_plain.path, over_plain.headers, wire)
    assert (reply.status, reply.problem) == (401, "signature_mismatch")

    # The limit holds for the decoded body: 1 MiB of zeros is small on the wire.
    bomb = senders.make("acme", ENCODINGS[encoding](b"[" + b"0," * 500_000 + b"0]"))
    bomb.headers.append(("Content-Encoding", encoding))
    reply = bridge.post(bomb.path, bomb.headers, bomb.body)
    assert (reply.status, reply.problem) == (413, "body_too_large")

    # Bytes that are not what the header says are the sender's mistake, never the server's.
    broken = senders.make("acme", b"\x01not compressed")
    broken.headers.append(("Content-Encoding", encoding))
    reply = bridge.post(broken.path, broken.headers, broken.body)
    assert 200 <= reply.status < 300 or 400 <= reply.status < 500


def test_routes_choose_backends_and_what_none_matches_stays_in_the_journal(bridges, senders, redis):
    streams = {name: unique(f"{name}-") for name in ("first", "second")}
    config = sources.CONFIG
    for name, stream in streams.items():
        config += f'\n[backends.{name}]\ntype = "redis"\nurl = "{redis.url}"\nstream = "{stream}"\n'
    config += """
[[routes]]
match = { source = "code", type = "github.push*" }
to    = ["first"]
[[routes]]
match = { source = "code" }
to    = ["second"]
[[routes]]
match = { type = "stripe.invoice.*" }
to    = ["first", "second"]
"""
    bridge = bridges(config).start()
    push = senders.make("code", type="push")
    star = senders.make("code", type="star")
    paid = senders.make("pay", type="invoice.paid")
    payout = senders.make("pay", type="payout.paid")
    shop = senders.make("shop")
    sent = [push, star, paid, payout, shop]
    for one in sent:
        accept(bridge, one)
    until(lambda: len(bridge.events()) == len(sent), what="all events in the journal")
    bridge.wait_drained("first", "second")
    ids = {name: [entry[b"id"].decode() for entry in redis.entries(stream)] for name, stream in streams.items()}
    assert ids == {"first": [push.id, paid.id], "second": [push.id, star.id, paid.id]}
    assert [event["id"] for event in bridge.events()] == [one.id for one in sent]


def test_a_source_names_its_backends(bridges, senders, redis):
    streams = {name: unique(f"{name}-") for name in ("first", "second")}
    config = sources.only("pay", "std").replace("[sources.pay]\n", '[sources.pay]\nbackends = ["second"]\n')
    for name, stream in streams.items():
        config += f'\n[backends.{name}]\ntype = "redis"\nurl = "{redis.url}"\nstream = "{stream}"\n'
    bridge = bridges(config).start()
    one, other = senders.make("pay"), senders.make("std")
    accept(bridge, one)
    accept(bridge, other)
    bridge.wait_drained("first", "second")
    ids = {name: [entry[b"id"].decode() for entry in redis.entries(stream)] for name, stream in streams.items()}
    assert ids == {"first": [other.id], "second": [one.id, other.id]}


def test_a_stream_name_and_a_routing_key_may_name_the_source_and_the_type(
    bridges, senders, redis, rabbit, rabbit_names
):
    prefix = unique("t-")
    exchange, queue = rabbit_names
    config = sources.CONFIG + (
        f'\n[backends.main]\ntype = "redis"\nurl = "{redis.url}"\nstream = "{prefix}:{{source}}:{{type}}"\n'
        f'\n[backends.rabbit]\ntype = "rabbitmq"\nurl = "{rabbit.url}"\nexchange = "{exchange}"\nqueue = "{queue}"\n'
        'routing_key = "{provider}.{source}.{type}"\n'
    )
    bridge = bridges(config).start()
    one, other = senders.make("pay"), senders.make("std")
    accept(bridge, one)
    accept(bridge, other)
    bridge.wait_drained("main", "rabbit")
    assert len(redis.entries(f"{prefix}:pay:stripe.invoice.paid")) == 1
    assert len(redis.entries(f"{prefix}:std:standard-webhooks.invoice.paid")) == 1
    connection = rabbit.connection()
    channel = connection.channel()
    keys = [channel.basic_get(queue, auto_ack=True)[0].routing_key for _ in range(2)]
    connection.close()
    assert keys == ["stripe.pay.stripe.invoice.paid", "standard-webhooks.std.standard-webhooks.invoice.paid"]


def test_a_fifo_queue_gets_groups_and_keeps_the_order_within_them(bridges, senders, sqs):
    url = sqs.queue(unique("f-") + ".fifo", FifoQueue="true")
    config = sources.only("code").replace("[sources.code]\n", '[sources.code]\npartition_key = "body:/repository/full_name"\n')
    bridge = bridges(config + sqs_backend("orders", sqs, url)).start()
    sent = []
    for number in range(24):
        body = json.dumps({"n": number, "repository": {"full_name": f"octo/{number % 3}"}}).encode()
        sent.append(senders.make("code", body))
        accept(bridge, sent[-1])
    messages = read(SqsReader(sqs, url), len(sent), 30)
    groups = {}
    for message in messages:
        event = json.loads(message["Body"])
        assert message["Attributes"]["MessageGroupId"] == event["partitionkey"]
        assert message["Attributes"]["MessageDeduplicationId"] == event["id"]
        groups.setdefault(event["partitionkey"], []).append(event["data"]["n"])
    assert groups == {f"octo/{key}": list(range(key, 24, 3)) for key in range(3)}


def test_a_body_larger_than_the_backend_takes_becomes_its_dead_letter_and_the_lane_goes_on(
    bridges, senders, sqs, sqs_queue, sqs_reader, to_sqs
):
    bridge = bridges(
        sources.CONFIG + to_sqs, server='max_body = "2MiB"', journal='segment_bytes = "8MiB"'
    ).start()
    before, large, after = (
        senders.make("acme"),
        senders.make("acme", b'{"type":"order.created","x":"' + b"y" * 1_200_000 + b'"}'),
        senders.make("acme"),
    )
    for one in (before, large, after):
        accept(bridge, one)
    ids = sorted(message["MessageAttributes"]["id"]["StringValue"] for message in read(sqs_reader, 2))
    assert ids == sorted([before.id, after.id])
    until(lambda: bridge.metric("hookferry_dead_letters", backend="orders") == 1, what="one dead letter")
    bridge.wait_drained("orders")
