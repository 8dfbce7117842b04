"""JSON Schemas of a source: what meets them is ferried, what does not is kept aside or refused."""

import json
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from harness import sources
from harness.bridge import REPOSITORY, run
from harness.brokers import redis_backend, stream_texts
from harness.wait import until
from jsonschema import Draft7Validator, FormatChecker

OCTOKIT = REPOSITORY / "tests" / "oracles" / "node_modules" / "@octokit"

ORDER = {
    "type": "object",
    "required": ["type", "n"],
    "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}, "who": {"$ref": "parts.json#/$defs/who"}},
}
PARTS = {"$defs": {"who": {"type": "object", "additionalProperties": False, "properties": {"mail": {"pattern": "@"}}}}}


@pytest.fixture
def schema(tmp_path):
    """Path of a schema for orders, which refers to a file beside it."""
    (tmp_path / "parts.json").write_text(json.dumps(PARTS))
    path = tmp_path / "order.json"
    path.write_text(json.dumps(ORDER))
    return path


@pytest.fixture
def command(tmp_path):
    def call(bridge, *arguments, status=0):
        done = run(*arguments, "--admin", bridge.admin_url, cwd=tmp_path)
        assert done.returncode == status, (arguments, done)
        return done.stdout

    return call


def acme(schema, more=""):
    return sources.only("acme").replace("[sources.acme]\n", f'[sources.acme]\nschema = "{schema}"\n{more}\n')


def order(senders, n, **more):
    return senders.make("acme", json.dumps({"type": "order.created", "n": n, **more}).encode())


def post(bridge, one):
    return bridge.post(one.path, one.headers, one.body)


def accepted(bridge, one):
    reply = post(bridge, one)
    assert (reply.status, reply.json()) == (200, {"status": "accepted", "id": one.id}), reply
    return one


def letters(bridge, query="?backend=schema"):
    reply = bridge.admin("GET", f"/v1/dead-letters{query}")
    assert reply.status == 200, reply
    return json.loads(reply.body, parse_float=str)["dead_letters"]


def kept(bridge, count):
    return until(lambda: len(found := letters(bridge)) == count and found, what=f"{count} letters")


def published(redis):
    return [json.loads(text)["id"] for text in stream_texts(redis)]


def test_what_does_not_meet_its_schema_is_kept_aside_and_goes_to_nobody(bridges, senders, own_redis, schema, command):
    bridge = bridges(acme(schema) + redis_backend(own_redis)).start()
    good = [accepted(bridge, order(senders, 1))]
    bad = accepted(bridge, order(senders, 10, who={"mail": "s3cret"}))
    good.append(accepted(bridge, order(senders, 9)))
    assert post(bridge, bad).json() == {"status": "duplicate", "id": bad.id}
    until(lambda: published(own_redis) == [one.id for one in good], what="the others pass")

    [letter] = kept(bridge, 1)
    assert (letter["backend"], letter["reason"], letter["attempts"]) == ("schema", "schema_mismatch", 1)
    assert letter["id"] == f"schema-{int(letter['sequence'])}" and letter["event"]["id"] == bad.id
    assert str(schema) in letter["detail"] and "/n" in letter["detail"] and "s3cret" not in letter["detail"]
    until(lambda: bridge.metric("hookferry_dead_letters", backend="schema") == 1, what="the letter is counted")
    assert bridge.metric("hookferry_set_aside_events_total", source="acme") == 1
    assert bridge.metric("hookferry_requests_total", source="acme", outcome="accepted") == 3
    assert bridge.metric("hookferry_unrouted_events_total") == 0

    # No reader of the journal has it either, nor a replay.
    assert [event["id"] for event in bridge.events()] == [one.id for one in good]
    assert bridge.admin("GET", f"/v1/events/{letter['sequence']}").status == 404
    everything = json.dumps({"backend": "main", "from": "1", "to": letter["sequence"]}).encode()
    assert bridge.admin("POST", "/v1/replays", body=everything).status == 202
    until(lambda: published(own_redis).count(good[0].id) == 2, what="the replay")
    until(lambda: bridge.admin("GET", "/v1/replays").json()["replays"] == [], what="its end")
    assert bad.id not in published(own_redis)
    assert "s3cret" not in bridge.logs()

    head, row = command(bridge, "dead", "list").splitlines()
    assert row.startswith(letter["id"]) and "schema_mismatch" in row and "/n" in row
    assert "s3cret" in command(bridge, "dead", "show", letter["id"])


def test_what_was_set_aside_is_released_to_the_backends_and_readers_once(bridges, senders, own_redis, schema, command):
    bridge = bridges(acme(schema) + redis_backend(own_redis)).start()
    bad = [accepted(bridge, order(senders, n)) for n in (0, 10, 11)]
    first, second, third = kept(bridge, 3)
    assert first["id"] in command(bridge, "dead", "replay", first["id"])
    until(lambda: published(own_redis) == [bad[0].id], what="the event")
    [event] = bridge.events()
    assert event["id"] == bad[0].id and event["data"]["n"] == 0 and event["sequence"] > third["sequence"]
    assert event["recordedtime"] == first["event"]["recordedtime"]
    assert bridge.admin("POST", f"/v1/dead-letters/{first['id']}/replay").status == 404, "it is gone"
    assert second["id"] in command(bridge, "dead", "drop", second["id"])
    command(bridge, "dead", "replay", "--all", "--backend", "schema")
    until(lambda: published(own_redis) == [bad[0].id, bad[2].id], what="the rest")
    assert letters(bridge) == [] and bridge.metric("hookferry_dead_letters", backend="schema") == 0
    bridge.kill()
    bridge.start()
    assert letters(bridge) == []
    assert post(bridge, bad[1]).json()["status"] == "duplicate", "a dropped one is not taken anew"
    bridge.wait_drained("main")
    assert published(own_redis) == [bad[0].id, bad[2].id]


def test_a_released_event_hides_none_from_a_search_by_time_and_came_when_it_was_released(bridges, senders, schema, command):
    bridge = bridges(acme(schema)).start()
    accepted(bridge, order(senders, 0))
    [letter] = kept(bridge, 1)
    time.sleep(2.5)  # times that differ by more than the search's tolerance of their order
    sent = [accepted(bridge, order(senders, 1)).id for _ in range(2)]
    command(bridge, "dead", "replay", letter["id"])
    # Where the search looks first.
    sent.append(letter["event"]["id"])
    sent += [accepted(bridge, order(senders, 1)).id for _ in range(2)]
    begin = bridge.events()[0]["recordedtime"]
    for query in [{}, {"order": "newest"}]:
        found = [event["id"] for event in bridge.page(since=begin, **query)["events"]]
        assert found == (sent[::-1] if query else sent)
    assert bridge.page(until=begin)["events"] == []


def test_what_is_set_aside_is_on_disk_before_the_answer_and_survives_kill_9(bridges, senders, own_redis, schema):
    config = acme(schema) + redis_backend(own_redis)
    bridge = bridges(config, journal='retention = "1s"').start()
    sent = []
    for _ in range(4):
        sent += [accepted(bridge, order(senders, n % 2 * 10)) for n in range(20)]
        bridge.kill()
        bridge.start()
    found = kept(bridge, len(sent))
    assert Counter(letter["event"]["id"] for letter in found) == Counter(one.id for one in sent)
    # The schema may go: what it set aside stays, and what comes now passes.
    bridge.kill()
    bridge.configure(sources.only("acme") + redis_backend(own_redis))
    bridge.start()
    assert len(letters(bridge)) == len(sent)
    passes = accepted(bridge, order(senders, 10))
    until(lambda: published(own_redis) == [passes.id], what="what needs to meet nothing")


def test_a_source_may_refuse_what_does_not_meet_its_schema(bridges, senders, schema):
    bridge = bridges(acme(schema, 'on_invalid = "reject"')).start()
    bad = order(senders, 10)
    for _ in range(2):
        reply = post(bridge, bad)
        assert (reply.status, reply.problem) == (422, "schema_mismatch"), reply
        assert "/n" not in reply.body.decode() and "maximum" not in reply.body.decode()
    forged = bridge.post(bad.path, sources.with_header(bad.headers, "X-Acme-Signature", "t=1,v1=00"), bad.body)
    assert forged.status == 401, "the signature comes first"
    accepted(bridge, order(senders, 5))
    assert len(bridge.events()) == 1 and letters(bridge, "") == []
    assert bridge.metric("hookferry_requests_total", source="acme", outcome="schema_mismatch") == 2


def test_with_published_answers_what_is_set_aside_waits_for_no_backend(bridges, senders, own_redis, schema):
    bridge = bridges(acme(schema, 'ack = "published"') + redis_backend(own_redis), server='ack_timeout = "1s"').start()
    accepted(bridge, order(senders, 1))
    own_redis.stall()
    accepted(bridge, order(senders, 10))
    own_redis.resume()
    kept(bridge, 1)


def test_a_schema_that_a_reload_brings_holds_from_then_on_and_follows_its_file(bridges, senders, own_redis, schema):
    bridge = bridges(sources.only("acme") + redis_backend(own_redis)).start()

    def reload(change):
        before = bridge.metric("hookferry_config_reloads_total", result="success")
        change()
        until(lambda: bridge.metric("hookferry_config_reloads_total", result="success") > before, what="the reload")

    free = accepted(bridge, order(senders, 10))
    reload(lambda: bridge.configure(acme(schema) + redis_backend(own_redis)))
    bad = accepted(bridge, order(senders, 10))
    [letter] = kept(bridge, 1)
    assert letter["event"]["id"] == bad.id
    reload(lambda: schema.write_text("{}"))
    passes = accepted(bridge, order(senders, 10))
    until(lambda: published(own_redis) == [free.id, passes.id], what="what meets its schema")


def test_a_file_that_a_schema_refers_to_is_followed_too(bridges, senders, schema, tmp_path):
    bridge = bridges(acme(schema)).start()

    def reloads(change):
        before = bridge.metric("hookferry_config_reloads_total")
        change()
        until(lambda: bridge.metric("hookferry_config_reloads_total") > before, 10, "a reload by itself")

    parts = tmp_path / "parts.json"
    accepted(bridge, order(senders, 1, who={"mail": "nobody"}))
    kept(bridge, 1)
    reloads(lambda: parts.write_text(json.dumps({"$defs": {"who": {"$ref": "more.json"}}})))
    assert "more.json" in bridge.log(), "what is missing is named"
    reloads(lambda: (tmp_path / "more.json").write_text("{}"))
    one = accepted(bridge, order(senders, 1, who={"mail": "nobody"}))
    assert [event["id"] for event in bridge.events()] == [one.id]


# What is no JSON, or breaks parsers, is kept as it is; the key is what it is built of.
HOSTILE = {
    "depth": b'{"type":"a.b","n":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "keys": b'{"type":"a.b","n":1,' + b",".join(b'"%d":0' % n for n in range(80_000)) + b"}",
    "duplicates": b'{"type":"a.b","n":10,"n":1}',
    "number": b'{"type":"a.b","n":1e400}',
    "digits": b'{"type":"a.b","n":1' + b"0" * 500 + b"}",
    "surrogate": b'{"type":"a.b","n":1,"s":"\\ud800"}',
    "nul": b'{"type":"a.b","n":1,"s":"\x00"}',
    "bom": b'\xef\xbb\xbf{"type":"a.b","n":1}',
    "latin": b'{"type":"a.b","n":1,"s":"\xe9"}',
    "form": b"type=a.b&n=1",
    "empty": b"",
}
PASS = {"keys", "duplicates"}


def test_bodies_that_break_parsers_meet_the_schema_or_are_kept_byte_for_byte(bridges, senders, schema):
    bridge = bridges(acme(schema)).start()
    sent = {name: senders.make("acme", body) for name, body in HOSTILE.items()}
    for name, one in sent.items():
        reply = post(bridge, one)
        assert (reply.status, reply.json()["status"]) == (200, "accepted"), name
    kept(bridge, len(HOSTILE) - len(PASS))
    bodies = {letter["event"]["id"]: letter["event"] for letter in letters(bridge)}
    for name, one in sent.items():
        assert (one.id in bodies) == (name not in PASS), name
    assert len(bridge.events()) == len(PASS)
    accepted(bridge, order(senders, 1))


# GitHub's own schemas, as its community keeps them


def examples():
    for kind in json.loads((OCTOKIT / "webhooks-examples" / "api.github.com" / "index.json").read_text()):
        for example in kind["examples"]:
            yield kind["name"], example


FORMATS = FormatChecker(formats=())
# Draft 7 asserts formats; these two are all that the examples come to.
for name, pattern in {"uri": r"[a-z][a-z0-9+.-]*:[^\s{}]+", "date-time": r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)"}.items():
    FORMATS.checks(name)(lambda value, pattern=pattern: not isinstance(value, str) or re.fullmatch(pattern, value))


def test_the_schemas_of_github_hold_for_its_examples_as_another_validator_has_it(bridges, senders):
    file = OCTOKIT / "webhooks-schemas" / "schema.json"
    definitions = json.loads(file.read_text())["definitions"]
    kinds = sorted({kind for kind, _ in examples() if f"{kind}_event" in definitions})
    table = ", ".join(f'"github.{kind}" = "{file}#/definitions/{kind}_event"' for kind in kinds)
    keys = f'schemas = {{ {table} }}\non_invalid = "reject"\n'
    bridge = bridges(sources.only("code").replace("[sources.code]\n", f"[sources.code]\n{keys}")).start()
    oracles = {
        kind: Draft7Validator(
            {"$ref": f"#/definitions/{kind}_event", "definitions": definitions}, format_checker=FORMATS
        )
        for kind in kinds
    }
    answers, seen = Counter(), Counter()
    for kind, example in examples():
        if kind in kinds:
            seen[kind] += 1
            if seen[kind] > 3:
                continue
            without = {name: value for name, value in example.items() if name not in ("repository", "sender")}
            for body in (example, without) if seen[kind] == 1 else (example,):
                # Some examples are older than the schemas, and lack what those ask for.
                expected = 200 if oracles[kind].is_valid(body) else 422
                one = senders.make("code", json.dumps(body).encode(), type=kind)
                reply = post(bridge, one)
                assert reply.status == expected, (kind, body, reply)
                answers[expected] += 1
    assert answers[200] > 80 and answers[422] > 40, answers
