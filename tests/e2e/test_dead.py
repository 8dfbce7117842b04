"""Dead letters and replay: what a broker refused waits for a person, and what is kept can be published again."""

import json
import subprocess
from collections import Counter

import pytest
from conftest import sqs_backend
from harness import sources
from harness.bridge import binary, environment, run
from harness.brokers import SqsReader
from harness.sources import unique
from harness.wait import until


@pytest.fixture
def small(sqs):
    """URL of a queue that takes 4 KiB a message."""
    return sqs.queue(unique("q-"), MaximumMessageSize="4096")


@pytest.fixture
def command(tmp_path):
    """Runs a command against a bridge."""

    def call(bridge, *arguments, status=0):
        done = run(*arguments, "--admin", bridge.admin_url, cwd=tmp_path)
        assert done.returncode == status, (arguments, done)
        return done

    return call


def accept(bridge, one):
    reply = bridge.post(one.path, one.headers, one.body)
    assert reply.status == 200, reply
    return one


def large(senders):
    # White space around the data is of the sender as well.
    return senders.make("acme", b' {"type":"order.created","n":1e400,"x":"' + b"y" * 6000 + b'"}\n')


def letters(bridge, query=""):
    reply = bridge.admin("GET", f"/v1/dead-letters{query}")
    assert reply.status == 200, reply
    return reply


def ids(bridge, query=""):
    # Numbers as text: the event holds one that no float can.
    return [letter["id"] for letter in json.loads(letters(bridge, query).body, parse_float=str)["dead_letters"]]


def dead(bridge, backend="orders"):
    return bridge.metric("hookferry_dead_letters", backend=backend)


def attempts(bridge, id):
    return json.loads(bridge.admin("GET", f"/v1/dead-letters/{id}").body, parse_float=str)["attempts"]


def arrived(reader):
    return [message["MessageAttributes"]["id"]["StringValue"] for message in reader.drain()]


def raise_limit(sqs, url):
    sqs.client().set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": "1048576"})


def set_aside(bridges, senders, sqs, url, more=""):
    """A bridge with one letter, whose event was the second of three; and the three."""
    bridge = bridges(sources.only("acme") + sqs_backend("orders", sqs, url, more)).start()
    sent = [accept(bridge, one) for one in (senders.make("acme"), large(senders), senders.make("acme"))]
    until(lambda: dead(bridge) == 1, what="one dead letter")
    bridge.wait_drained("orders")
    return bridge, sent


def test_a_letter_is_listed_shown_and_replayed_once_the_queue_takes_it(bridges, senders, sqs, small, command):
    bridge, sent = set_aside(bridges, senders, sqs, small, 'format = "binary"')
    reader = SqsReader(sqs, small)
    until(lambda: sorted(arrived(reader)) == sorted([sent[0].id, sent[2].id]), what="the others pass")

    [id] = ids(bridge)
    head, row = command(bridge, "dead", "list").stdout.splitlines()
    assert head.split() == ["ID", "SINCE", "ATTEMPTS", "STATE", "REASON", "DETAIL"]
    assert row.startswith(id) and "too_large" in row and "waiting" in row
    shown = command(bridge, "dead", "show", id).stdout
    assert sent[1].id in shown and "too_large" in shown and "y" * 6000 in shown
    [line] = command(bridge, "dead", "list", "--json").stdout.splitlines()
    assert '"n":1e400' in line
    assert json.loads(line, parse_float=str)["event"]["id"] == sent[1].id

    assert id in command(bridge, "dead", "replay", id).stdout
    until(lambda: attempts(bridge, id) == 2, what="a second attempt")
    assert dead(bridge) == 1, "a letter that is refused again stays"

    bridge.kill()
    bridge.start()
    assert ids(bridge) == [id] and dead(bridge) == 1, "letters survive kill -9"

    raise_limit(sqs, small)
    command(bridge, "dead", "replay", "--all", "--backend", "orders")
    until(lambda: sent[1].id in arrived(reader), what="the event at last")
    message, *_ = [m for m in reader.messages if m["MessageAttributes"]["id"]["StringValue"] == sent[1].id]
    assert message["Body"].encode() == sent[1].body, "byte for byte"
    until(lambda: dead(bridge) == 0, what="no letter left")
    assert ids(bridge) == []
    assert command(bridge, "dead", "list").stdout == ""


def test_a_replay_that_was_accepted_survives_kill_9(bridges, senders, sqs, small):
    bridge, sent = set_aside(bridges, senders, sqs, small)
    reader = SqsReader(sqs, small)
    [id] = ids(bridge)
    assert bridge.admin("POST", "/v1/backends/orders/pause").status == 200
    assert bridge.admin("POST", f"/v1/dead-letters/{id}/replay").status == 202
    [event, *_] = bridge.events()
    body = json.dumps({"backend": "orders"}).encode()
    assert bridge.admin("POST", f"/v1/events/{event['sequence']}/replay", body=body).status == 202
    raise_limit(sqs, small)
    bridge.kill()
    bridge.start()
    # A kill may repeat the batch in flight: at least so many of each.
    wanted = Counter([sent[0].id, sent[0].id, sent[1].id, sent[2].id])
    until(lambda: not wanted - Counter(arrived(reader)), what="the letter and the event again")
    until(lambda: dead(bridge) == 0, what="no letter left")
    until(lambda: json.loads(bridge.admin("GET", "/v1/replays").body)["replays"] == [], what="no replay left")


def test_letters_are_dropped_by_id_or_all_at_once(bridges, senders, sqs, small, command):
    bridge, _ = set_aside(bridges, senders, sqs, small)
    for _ in range(3):
        accept(bridge, large(senders))
    until(lambda: dead(bridge) == 4, what="four letters")
    first, *others = ids(bridge)
    assert ids(bridge, "?limit=1") == [first]
    assert ids(bridge, "?order=newest&limit=3") == others[::-1]
    assert ids(bridge, f"?after={first}&backend=orders") == others
    command(bridge, "dead", "drop", first)
    gone = command(bridge, "dead", "drop", first, others[0], status=1)
    assert "404" in gone.stderr and others[0] in gone.stdout, "one that fails hides no other"
    assert dead(bridge) == 2
    command(bridge, "dead", "drop", "--all", "--backend", "orders")
    assert (dead(bridge), ids(bridge)) == (0, [])
    assert command(bridge, "dead", "drop", status=2).stdout == ""
    assert command(bridge, "dead", "drop", "--all", status=2).stdout == ""


def test_an_id_reaches_no_file_but_its_own_and_strange_files_hide_no_letter(bridges, senders, sqs, small, command):
    bridge, _ = set_aside(bridges, senders, sqs, small)
    [id] = ids(bridge)
    directory = bridge.journal_dir / "dead" / "orders"
    (directory / f"{10**6:020}.json").write_text('{"id": "orders-')
    (directory / "notes.txt").write_text("a person's")
    (bridge.journal_dir / "victim-1.json").write_text("{}")
    tricks = ["..%2Fvictim-1", "orders%2F..%2F..%2Fvictim-1", "orders-1%00", "%2e%2e-1", "orders-%2B2", "x" * 5000, "-"]
    for trick in tricks:
        for method, tail in (("GET", ""), ("DELETE", ""), ("POST", "/replay")):
            assert bridge.admin(method, f"/v1/dead-letters/{trick}{tail}").status == 404, (method, trick)
    assert (bridge.journal_dir / "victim-1.json").exists()
    page = json.loads(letters(bridge).body, parse_float=str)
    assert [letter["id"] for letter in page["dead_letters"]] == [id]
    assert sorted(found["file"] for found in page["unreadable"]) == [f"orders/{10**6:020}.json", "orders/notes.txt"]
    listed = command(bridge, "dead", "list")
    assert id in listed.stdout and "notes.txt" in listed.stderr
    assert bridge.admin("POST", f"/v1/dead-letters/orders-{10**6}/replay").status == 409
    assert bridge.admin("DELETE", f"/v1/dead-letters/orders-{10**6}").status == 204, "what is damaged can be dropped"


def test_kept_events_go_to_a_second_backend_one_or_a_range(bridges, senders, sqs, sqs_queue, redis, stream, command):
    """The second backend gets nothing by the routes."""
    bridge = bridges(
        sources.only("acme", "std")
        + f'\n[backends.main]\ntype = "redis"\nurl = "{redis.url}"\nstream = "{stream}"\n'
        + sqs_backend("orders", sqs, sqs_queue)
        + '\n[[routes]]\nmatch = { source = "*" }\nto = ["main"]\n'
    ).start()
    sent = [accept(bridge, senders.make(source)) for source in ["acme", "std"] * 5]
    bridge.wait_drained("main", "orders")
    events = bridge.events()
    reader = SqsReader(sqs, sqs_queue)
    listed = command(bridge, "events", "list", "--source", "acme", "--limit", "3").stdout.splitlines()
    assert [row.split()[-1] for row in listed] == ["ID", *[one.id for one in sent[:6:2]]]
    rows = command(bridge, "events", "list", "--json").stdout.splitlines()
    assert [json.loads(row) for row in rows] == events
    sequence = events[3]["sequence"].lstrip("0")
    assert events[3]["id"] in command(bridge, "events", "show", sequence).stdout
    assert json.loads(command(bridge, "events", "show", sequence, "--json").stdout) == events[3]

    command(bridge, "events", "replay", sequence, "--backend", "orders")
    until(lambda: arrived(reader) == [sent[3].id], what="one event")
    assert json.loads(reader.messages[0]["Body"]) == events[3], "id and sequence stay"
    reader.messages.clear()
    last = events[-1]["sequence"]
    span = ["--from", "0", "--to", last, "--backend", "orders"]
    command(bridge, "events", "replay", *span, "--type", "acme.*")
    until(lambda: sorted(arrived(reader)) == sorted(one.id for one in sent[::2]), what="every other event")
    assert len(redis.entries(stream)) == len(sent), "the first backend gets nothing again"

    assert "404" in command(bridge, "events", "replay", "999999", "--backend", "orders", status=1).stderr
    assert "404" in command(bridge, "events", "replay", sequence, "--backend", "nobody", status=1).stderr
    assert "404" in command(bridge, "events", "show", "999999", status=1).stderr
    command(bridge, "events", "replay", "--backend", "orders", status=2)
    command(bridge, "events", "replay", sequence, "--from", "1", "--to", "2", "--backend", "orders", status=2)


def test_a_range_survives_kill_9_and_a_redis_cursor_never_goes_back(bridges, senders, redis, stream, to_redis):
    bridge = bridges(sources.only("acme") + to_redis).start()
    sent = [accept(bridge, senders.make("acme")).id for _ in range(20)]
    bridge.wait_drained("main")
    client = redis.client()
    [key] = [key for key in client.keys("hookferry:*") if stream.encode() in key]
    before = client.get(key)
    sequences = [event["sequence"] for event in bridge.events()]
    bridge.admin("POST", "/v1/backends/main/pause")
    body = json.dumps({"backend": "main", "from": sequences[2], "to": sequences[6]}).encode()
    assert bridge.admin("POST", "/v1/replays", body=body).status == 202
    bridge.kill()
    bridge.start()
    found = lambda: [entry[b"id"].decode() for entry in redis.entries(stream)]
    until(lambda: found() == sent + sent[2:7], what="the range again")
    assert client.get(key) == before
    until(lambda: json.loads(bridge.admin("GET", "/v1/replays").body)["replays"] == [], what="no order left")
    for _ in range(2):
        bridge.kill()
        bridge.start()
        sent.append(accept(bridge, senders.make("acme")).id)
        until(lambda: found()[-1] == sent[-1], what="a new event")
    assert found() == sent[:20] + sent[2:7] + sent[20:], "nothing twice, nothing missing"


def test_a_reader_that_leaves_early_ends_a_list_quietly(bridges, senders, tmp_path):
    bridge = bridges(sources.only("acme")).start()
    for _ in range(50):
        accept(bridge, senders.make("acme", b'{"type":"x","pad":"' + b"y" * 20_000 + b'"}'))
    listing = subprocess.Popen(
        [binary(), "events", "list", "--json", "--admin", bridge.admin_url],
        cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    assert listing.stdout.readline().startswith(b"{")
    listing.stdout.close()
    assert listing.wait(20) == 0
    assert listing.stderr.read() == b""
