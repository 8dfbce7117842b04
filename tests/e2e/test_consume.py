"""The admin listener: events over HTTP, named cursors, the live stream, health and figures."""

import hashlib
import http.client
import json
import re
import threading
import time

import pytest
from harness import sources
from harness.load import Load, data_bytes
from harness.secrets import ENV
from harness.wait import until


@pytest.fixture
def bridge(bridges):
    return bridges(sources.CONFIG).start()


def accept(bridge, *sent):
    for one in sent:
        assert bridge.post(one.path, one.headers, one.body).status == 200
    return [one.id for one in sent]


def ids(page):
    return [event["id"] for event in page["events"]]


class Stream:
    """A reader of server-sent events on its own connection."""

    def __init__(self, bridge, query="", headers=()):
        self.connection = http.client.HTTPConnection("127.0.0.1", bridge.admin_port, timeout=20)
        self.connection.request("GET", f"/v1/events/stream{query}", headers=dict(headers))
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self.response.getheader("content-type").startswith("text/event-stream")

    def next(self):
        """The next event as (id, data); comments are passed over."""
        fields = {}
        while True:
            line = self.response.readline()
            assert line, "the stream has ended"
            line = line.rstrip(b"\r\n")
            if not line:
                if "data" in fields:
                    return fields.get("id"), fields["data"]
                fields = {}
                continue
            if line.startswith(b":"):
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            name = name.decode()
            fields[name] = fields[name] + b"\n" + value if name == "data" and name in fields else value

    def take(self, count):
        return [self.next() for _ in range(count)]

    def close(self):
        self.connection.close()


# Pages


def test_events_are_read_in_pages_from_any_position(bridge, senders):
    sent = accept(bridge, *[senders.make("std") for _ in range(25)])
    first = bridge.page(limit=10)
    assert ids(first) == sent[:10]
    assert first["next"] == first["events"][-1]["sequence"]
    second = bridge.page(after=first["next"], limit=10)
    assert ids(second) == sent[10:20]
    third = bridge.page(after=second["next"], limit=10)
    assert ids(third) == sent[20:]
    after = bridge.page(after=third["next"], limit=10)
    assert after["events"] == []
    assert int(after["next"]) >= int(third["next"]), "a reader that goes on from here misses nothing"
    more = accept(bridge, senders.make("std"))
    assert ids(bridge.page(after=after["next"])) == more
    assert ids(bridge.page(after=third["next"])) == more
    assert ids(bridge.page(after=0, limit=1)) == sent[:1]


def test_one_event_is_read_by_its_sequence_with_its_bytes(bridge, senders):
    body = b'{ "type":"invoice.paid",\r\n  "n": 1.10, "n": 12345678901234567890 }'
    one = senders.make("std", body)
    accept(bridge, one)
    (event,) = bridge.page()["events"]
    reply = bridge.admin("GET", f"/v1/events/{event['sequence']}")
    assert reply.status == 200
    assert data_bytes(reply.body) == body
    single = json.loads(reply.body)
    assert single["id"] == one.id
    assert single["bodysha256"] == hashlib.sha256(body).hexdigest()
    assert bridge.admin("GET", "/v1/events/99999999999999999999").status in (400, 404)
    assert bridge.admin("GET", f"/v1/events/{int(event['sequence']) + 1000:020d}").status == 404
    assert bridge.admin("GET", "/v1/events/nonsense").status in (400, 404)


def test_a_page_holds_the_bytes_as_they_were_sent(bridge, senders):
    body = b'{ "type":"invoice.paid",\r\n  "n": 1.10, "caf\\u00e9": 1e400 }'
    accept(bridge, senders.make("std", body))
    raw = bridge.admin("GET", "/v1/events").body
    assert b'"data":' + body + b"}" in raw


def test_events_are_filtered_by_source_and_type(bridge, senders):
    paid, failed, push, star = (
        senders.make("std", type="invoice.paid"),
        senders.make("std", type="invoice.payment_failed"),
        senders.make("code", type="push"),
        senders.make("code", type="star"),
    )
    accept(bridge, paid, push, failed, star)
    assert ids(bridge.page(source="std")) == [paid.id, failed.id]
    assert ids(bridge.page(type="github.push")) == [push.id]
    assert ids(bridge.page(type="*.paid")) == [paid.id]
    assert ids(bridge.page(type="standard-webhooks.invoice.*")) == [paid.id, failed.id]
    assert ids(bridge.page(source="code", type="github.s*")) == [star.id]
    assert ids(bridge.page(source="nobody")) == []
    assert ids(bridge.page(source="std", limit=1)) == [paid.id]


def test_a_long_poll_answers_as_soon_as_there_is_an_event(bridge, senders):
    accept(bridge, senders.make("std"))
    position = bridge.page()["next"]
    found = {}

    def poll():
        connection = http.client.HTTPConnection("127.0.0.1", bridge.admin_port, timeout=40)
        connection.request("GET", f"/v1/events?after={position}&wait=20s")
        started = time.monotonic()
        found["page"] = json.loads(connection.getresponse().read())
        found["took"] = time.monotonic() - started
        connection.close()

    poller = threading.Thread(target=poll)
    poller.start()
    poller.join(0.5)
    assert poller.is_alive(), "the poll did not wait"
    sent = accept(bridge, senders.make("std"))
    poller.join(10)
    assert ids(found["page"]) == sent
    assert found["took"] < 5


def test_a_long_poll_ends_empty_when_its_time_is_over(bridge, senders):
    accept(bridge, senders.make("std"))
    position = bridge.page()["next"]
    started = time.monotonic()
    page = bridge.page(after=position, wait="1s")
    assert 0.9 < time.monotonic() - started < 5
    assert page["events"] == []
    # An event that the filter passes over does not end it.
    accept(bridge, senders.make("std"))
    page = bridge.page(after=position, wait="500ms", source="code")
    assert page["events"] == []


def test_nonsense_in_a_query_is_400(bridge):
    for query in ("after=x", "after=-1", "limit=x", "limit=-1", "wait=long", "wait=-1s"):
        reply = bridge.admin("GET", f"/v1/events?{query}")
        assert reply.status == 400, query
    assert bridge.admin("GET", "/v1/events?limit=1000000").status in (200, 400)


def test_events_stay_readable_over_a_restart(bridge, senders):
    sent = accept(bridge, *[senders.make("std") for _ in range(5)])
    page = bridge.page(limit=2)
    assert bridge.stop() == 0
    bridge.start()
    assert ids(bridge.page(after=page["next"])) == sent[2:]


# The live stream


def test_the_stream_shows_events_as_they_come_with_their_sequence_as_id(bridge, senders):
    accept(bridge, senders.make("std"))
    stream = Stream(bridge)
    sent = [senders.make("std"), senders.make("code"), senders.make("acme", b'{\n"type":\r\n"order.created"\n}')]
    accept(bridge, *sent)
    got = []
    while len(got) < 3:
        event = json.loads((item := stream.next())[1])
        assert item[0].decode() == event["sequence"]
        if event["id"] in {one.id for one in sent}:
            got.append(event)
    assert [event["id"] for event in got] == [one.id for one in sent]
    assert got[2]["data"] == {"type": "order.created"}
    stream.close()


def test_the_stream_resumes_behind_the_last_event_id(bridge, senders):
    sent = accept(bridge, *[senders.make("std") for _ in range(10)])
    stream = Stream(bridge, "?after=0")
    first = stream.take(4)
    stream.close()
    assert [json.loads(data)["id"] for _, data in first] == sent[:4]
    again = Stream(bridge, headers={"Last-Event-ID": first[-1][0].decode()})
    assert [json.loads(data)["id"] for _, data in again.take(6)] == sent[4:]
    more = accept(bridge, senders.make("std"))
    assert [json.loads(data)["id"] for _, data in again.take(1)] == more
    again.close()


def test_the_stream_is_filtered(bridge, senders):
    stream = Stream(bridge, "?source=code&type=github.p*")
    wanted = [senders.make("code", type="push"), senders.make("code", type="ping")]
    accept(bridge, senders.make("std"), wanted[0], senders.make("code", type="star"), wanted[1])
    assert [json.loads(data)["id"] for _, data in stream.take(2)] == [one.id for one in wanted]
    stream.close()


def test_a_stop_ends_open_streams_and_polls(bridge, senders):
    stream = Stream(bridge)
    started = time.monotonic()
    assert bridge.stop() == 0
    assert time.monotonic() - started < 8
    stream.close()


def test_the_stream_keeps_up_with_load(bridge, oracles):
    stream = Stream(bridge, "?after=0")
    load = Load(bridge, oracles).run(500)
    got = [json.loads(data) for _, data in stream.take(len(load.acknowledged))]
    assert {event["id"] for event in got} >= load.acknowledged.keys()
    sequences = [event["sequence"] for event in got]
    assert sequences == sorted(set(sequences))
    stream.close()


# Named consumers


def consume(bridge, name, **query):
    pairs = "&".join(f"{key}={value}" for key, value in query.items())
    reply = bridge.admin("GET", f"/v1/consumers/{name}/events?{pairs}")
    assert reply.status == 200, reply
    return reply.json()


def commit(bridge, name, sequence):
    reply = bridge.admin(
        "PUT",
        f"/v1/consumers/{name}",
        [("Content-Type", "application/json")],
        json.dumps({"sequence": sequence}).encode(),
    )
    assert 200 <= reply.status < 300, reply


def test_a_named_consumer_goes_on_where_it_committed_also_after_a_kill(bridge, senders):
    sent = accept(bridge, *[senders.make("std") for _ in range(10)])
    page = consume(bridge, "billing", limit=4)
    assert ids(page) == sent[:4]
    assert ids(consume(bridge, "billing", limit=4)) == sent[:4], "reading alone moves nothing"
    commit(bridge, "billing", page["next"])
    assert ids(consume(bridge, "billing", limit=4)) == sent[4:8]
    assert ids(consume(bridge, "reports", limit=2)) == sent[:2], "each name has its own"
    bridge.kill()
    bridge.start()
    assert ids(consume(bridge, "billing", limit=100)) == sent[4:]
    commit(bridge, "billing", consume(bridge, "billing", limit=100)["next"])
    assert ids(consume(bridge, "billing")) == []
    commit(bridge, "billing", page["events"][0]["sequence"])
    assert ids(consume(bridge, "billing", limit=1)) == sent[1:2], "a consumer may go back"


def test_a_named_consumer_waits_for_events(bridge, senders):
    accept(bridge, senders.make("std"))
    commit(bridge, "billing", consume(bridge, "billing")["next"])
    started = time.monotonic()
    assert ids(consume(bridge, "billing", wait="600ms")) == []
    assert time.monotonic() - started > 0.5
    sent = accept(bridge, senders.make("std"))
    assert ids(consume(bridge, "billing", wait="10s")) == sent


def test_a_consumers_name_or_position_that_makes_no_sense_is_refused(bridge):
    for path, body in (
        ("/v1/consumers/billing", b"nonsense"),
        ("/v1/consumers/billing", b"{}"),
        ("/v1/consumers/billing", b'{"sequence":"x"}'),
        ("/v1/consumers/" + "n" * 500, b'{"sequence":"1"}'),
        ("/v1/consumers/%2e%2e%2fx", b'{"sequence":"1"}'),
    ):
        reply = bridge.admin("PUT", path, [("Content-Type", "application/json")], body)
        assert 400 <= reply.status < 500, (path[:40], body, reply)


# Health and figures


def test_health_is_told_without_a_token_and_the_rest_needs_it(bridges, senders):
    bridge = bridges(sources.only("std"), admin='token = "env:ADMIN_TOKEN"').start()
    assert bridge.admin("GET", "/livez").status == 200
    assert bridge.admin("GET", "/readyz").status == 200
    token = ENV["ADMIN_TOKEN"]
    wrong = [
        [],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Bearer wrong")],
        [("Authorization", f"Bearer {token}x")],
        [("Authorization", f"Bearer {token[:-1]}")],
        [("Authorization", f"Basic {token}")],
        [("Authorization", token)],
    ]
    for path in ("/metrics", "/v1/events", "/v1/events/stream", "/v1/events/1", "/v1/consumers/x/events", "/v1/status"):
        for headers in wrong:
            reply = bridge.admin("GET", path, headers)
            assert reply.status == 401, (path, headers)
            assert token not in reply.body.decode()
    assert bridge.admin("PUT", "/v1/consumers/x", wrong[3], b'{"sequence":"1"}').status == 401
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert bridge.admin("GET", "/v1/events", [("Authorization", f"{scheme} {token}")]).status == 200
    bridge.token = token
    accept(bridge, senders.make("std"))
    assert len(bridge.events()) == 1
    assert bridge.admin("GET", "/metrics").status == 200


def test_an_admin_listener_beyond_loopback_without_a_token_is_refused(bridges):
    bridge = bridges(sources.only("std"))
    text = bridge.config_path.read_text().replace(f"127.0.0.1:{bridge.admin_port}", f"0.0.0.0:{bridge.admin_port}")
    bridge.config_path.write_text(text)
    bridge.spawn()
    assert bridge.wait_end(15) == 2
    assert "token" in bridge.log()


def test_the_ingress_does_not_serve_the_admin_paths_nor_the_other_way_round(bridge, senders):
    one = senders.make("std")
    assert bridge.request("GET", "/metrics").status == 404
    assert bridge.request("GET", "/readyz").status == 404
    # A sender that reaches the admin listener by the ingress' name is refused for that alone.
    assert bridge.admin("POST", one.path, one.headers, one.body).status in (403, 404, 405)


def test_every_figure_of_the_contract_is_there(bridges, senders, to_redis):
    bridge = bridges(sources.CONFIG + to_redis).start()
    one = senders.make("std")
    accept(bridge, one)
    bridge.post(one.path, one.headers, one.body)
    bridge.wait_drained("main")
    reply = bridge.admin("GET", "/metrics")
    kind = reply.headers["content-type"]
    assert kind.startswith(("text/plain", "application/openmetrics-text")), kind
    assert bridge.metric("hookferry_requests_total", source="std", outcome="accepted") == 1
    assert bridge.metric("hookferry_requests_total", source="std", outcome="duplicate") == 1
    assert bridge.metric("hookferry_events_total", source="std") == 1
    assert bridge.metric("hookferry_ack_seconds_count", source="std") == 2
    assert 0 < bridge.metric("hookferry_ack_seconds_sum", source="std") < 10
    assert bridge.metric("hookferry_published_total", backend="main") == 1
    assert bridge.metric("hookferry_backend_up", backend="main") == 1
    assert bridge.metric("hookferry_backlog_events", backend="main") == 0
    assert bridge.metric("hookferry_publish_seconds_count", backend="main") >= 1
    assert bridge.metric("hookferry_journal_bytes") > 0
    assert bridge.metric("hookferry_journal_fsync_seconds_count") >= 1
    assert bridge.metric("hookferry_journal_open") == 1
    names = {name.partition("{")[0] for name in bridge.metrics()}
    for name in ("hookferry_dead_letters", "hookferry_backlog_age_seconds", "hookferry_journal_fsync_failures_total"):
        assert name in names, name
    assert any(re.fullmatch(r'hookferry_build_info\{version="[0-9][^"]*"\}', name) for name in bridge.metrics())
    # As a scraper reads it: every sample belongs to a family that is announced.
    text = reply.body.decode()
    families = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    for name in names:
        bare = re.sub(r"_(total|bucket|count|sum|info)$", "", name)
        assert name in families or bare in families, name


def test_the_age_of_a_backlog_grows_while_a_broker_is_down(bridges, senders, redis):
    bridge = bridges(
        sources.only("std") + '\n[backends.main]\ntype = "redis"\nurl = "redis://127.0.0.1:9"\nstream = "x"\n'
    ).start()
    accept(bridge, *[senders.make("std") for _ in range(3)])
    until(lambda: bridge.metric("hookferry_backlog_events", backend="main") == 3, what="a backlog of 3")
    until(lambda: bridge.metric("hookferry_backlog_age_seconds", backend="main") > 1, what="an age over 1 s")
    assert bridge.metric("hookferry_backend_up", backend="main") == 0
    until(lambda: bridge.metric("hookferry_publish_failures_total", backend="main") >= 1, what="a failure")


def test_a_paused_backend_holds_its_events_until_it_is_resumed(bridges, senders, redis, stream, to_redis):
    bridge = bridges(sources.CONFIG + to_redis).start()
    (backend,) = names(bridge.admin("GET", "/v1/backends").json(), "backends")
    assert backend == "main"
    assert 200 <= bridge.admin("POST", "/v1/backends/main/pause").status < 300
    accept(bridge, *[senders.make("std") for _ in range(5)])
    until(lambda: bridge.metric("hookferry_backlog_events", backend="main") == 5, what="a backlog of 5")
    assert redis.entries(stream) == []
    assert 200 <= bridge.admin("POST", "/v1/backends/main/resume").status < 300
    bridge.wait_drained("main")
    assert len(redis.entries(stream)) == 5
    assert bridge.admin("POST", "/v1/backends/nobody/pause").status == 404


def test_status_sources_and_dead_letters_are_told_and_hold_no_secret(bridges, senders, to_redis):
    bridge = bridges(sources.CONFIG + to_redis).start()
    accept(bridge, senders.make("std"))
    texts = []
    for path in ("/v1/status", "/v1/sources", "/v1/backends", "/v1/dead-letters", "/v1/consumers"):
        reply = bridge.admin("GET", path)
        assert reply.status == 200, path
        reply.json()
        texts.append(reply.body.decode())
    assert set(sources.NAMES) <= set(re.findall(r"[a-z]+", texts[1]))
    for secret in ENV.values():
        assert secret not in "".join(texts)


def names(document, key):
    """Names in a list answer: `{"<key>":[{"name":…}]}`, or the list alone."""
    return [item["name"] for item in (document[key] if isinstance(document, dict) else document)]


def test_an_unknown_admin_path_is_404(bridge):
    for path in ("/nothing", "/v1", "/v1/", "/v1/event", "/webhooks/std"):
        assert bridge.admin("GET", path).status == 404, path
