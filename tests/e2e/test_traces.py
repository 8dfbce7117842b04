"""Traces: one from the request to the confirmed publish, read as a collector and as a consumer read them."""

import json

import pytest
from harness import sources
from harness.collector import Collector
from harness.wait import until

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = ("traceparent", f"00-{TRACE}-{CALLER}-01")


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


def telemetry(collector, more=""):
    return f'\n[telemetry]\notlp_endpoint = "{collector.url}"\n{more}\n'


def send(bridge, senders, *headers, **options):
    one = senders.make("acme", **options)
    return bridge.post(one.path, [*one.headers, *headers], one.body), one


@pytest.mark.parametrize("form", ["structured", "binary"])
def test_one_trace_leads_from_the_request_to_the_confirmed_publish_and_on_to_the_consumer(
    bridges, senders, collector, redis, stream, to_redis, form
):
    bridge = bridges(sources.only("acme") + to_redis + f'format = "{form}"\n' + telemetry(collector)).start()
    reply, one = send(bridge, senders, SAMPLED, ("tracestate", "vendor=value"))
    assert reply.status == 200
    bridge.wait_drained("main")
    assert bridge.stop() == 0
    [request], [publish] = collector.named("POST /webhooks/acme"), collector.named("publish main")
    [verify], [append] = collector.named("verify"), collector.named("append")
    assert {span.trace for span in collector.spans} == {TRACE}
    assert (request.parent, request.kind) == (CALLER, Collector.SERVER)
    assert (publish.parent, publish.kind) == (request.id, Collector.PRODUCER)
    assert verify.parent == append.parent == request.id
    assert request.start <= verify.start <= verify.end <= append.start <= append.end <= request.end
    assert not any(span.failed for span in collector.spans)
    assert request.attributes["hookferry.source"] == "acme"
    assert request.attributes["hookferry.outcome"] == "accepted"
    assert request.attributes["cloudevents.event_id"] == publish.attributes["messaging.message.id"] == one.id
    assert publish.attributes["hookferry.backend"] == "main"
    assert request.resource["service.name"] == "hookferry"
    [entry] = redis.entries(stream)
    event = json.loads(entry[b"event"]) if form == "structured" else {k.decode(): v.decode() for k, v in entry.items()}
    assert event["traceparent"] == f"00-{TRACE}-{request.id}-01"
    assert event["tracestate"] == "vendor=value"


def test_a_request_without_a_trace_begins_one_and_a_refused_one_says_why(bridges, senders, collector, redis, stream, to_redis):
    bridge = bridges(sources.only("acme") + to_redis + telemetry(collector)).start()
    assert send(bridge, senders)[0].status == 200
    assert send(bridge, senders, secret="wrong")[0].status == 401
    assert send(bridge, senders, ("traceparent", "00-nonsense"))[0].status == 200
    bridge.wait_drained("main")
    assert bridge.stop() == 0
    accepted, refused, third = collector.named("POST /webhooks/acme")
    assert [span.parent for span in (accepted, refused, third)] == ["", "", ""]
    assert len({accepted.trace, refused.trace, third.trace}) == 3
    assert [span.failed for span in (accepted, refused, third)] == [False, True, False]
    assert [span.trace for span in collector.named("publish main")] == [accepted.trace, third.trace]
    traceparents = [json.loads(entry[b"event"])["traceparent"] for entry in redis.entries(stream)]
    assert traceparents == [f"00-{span.trace}-{span.id}-01" for span in (accepted, third)]


def test_the_share_decides_where_the_sender_has_not(bridges, senders, collector, redis, stream, to_redis):
    bridge = bridges(sources.only("acme") + to_redis + telemetry(collector, 'trace_sample = "0%"')).start()
    for header in ([], [SAMPLED], [("traceparent", f"00-{TRACE}-{CALLER}-00")]):
        assert send(bridge, senders, *header)[0].status == 200
    bridge.wait_drained("main")
    assert bridge.stop() == 0
    assert len(collector.named("POST /webhooks/acme")) == len(collector.named("publish main")) == 1
    assert {span.trace for span in collector.spans} == {TRACE}
    flags = [json.loads(entry[b"event"])["traceparent"][-2:] for entry in redis.entries(stream)]
    assert flags == ["00", "01", "00"]


def test_exports_carry_the_headers_and_a_collector_that_fails_costs_nobody_anything(bridges, senders, collector):
    more = 'otlp_headers = { authorization = "env:OTLP_AUTH", x-tenant = "literal:seven" }'
    env = {"OTLP_AUTH": "Bearer canary-otlp-token", "OTEL_BSP_SCHEDULE_DELAY": "000000050"}
    bridge = bridges(sources.only("acme") + telemetry(collector, more), env=env).start()
    collector.answer = 500
    assert send(bridge, senders)[0].status == 200
    until(lambda: collector.requests, 10, "an export")
    path, headers, body = collector.requests[0]
    assert path == "/v1/traces"
    assert headers["content-type"] == "application/x-protobuf"
    assert (headers["authorization"], headers["x-tenant"]) == ("Bearer canary-otlp-token", "seven")
    assert b"canary" not in body
    collector.close()
    for _ in range(20):
        assert send(bridge, senders)[0].status == 200
    collector.close = lambda: None


def test_without_a_collector_the_senders_trace_is_carried_as_it_came(bridges, senders, redis, stream, to_redis):
    bridge = bridges(sources.only("acme") + to_redis).start()
    assert send(bridge, senders, SAMPLED)[0].status == 200
    assert send(bridge, senders)[0].status == 200
    bridge.wait_drained("main")
    first, second = (json.loads(entry[b"event"]) for entry in redis.entries(stream))
    assert first["traceparent"] == SAMPLED[1]
    assert "traceparent" not in second
