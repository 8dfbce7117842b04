"""What the commands print, and on what: closed pipes, terminals, and texts that senders chose."""

import json
import os
import pty
import re
import select
import subprocess
import time

import pytest
from harness import sources
from harness.bridge import binary, environment, run
from harness.wait import until

OPEN = """
[sources.open]
provider = "custom"
secrets = ["literal:key-of-the-open-source"]
[sources.open.verify]
kind = "token"
token = { header = "x-key" }
[sources.open.event]
id = "body:/id"
type = "body:/type"
"""
# Turns what follows around, ends a line where a program knows Unicode's ends, begins a control sequence.
TURNING = "\u202e\u2066\u2028\u009b2J"
# The same for an id, which holds no control characters.
ID = "\u202e\u2066"


def post(bridge, number, kind="order.paid"):
    body = json.dumps({"type": kind, "id": f"{ID}{number}", "text": TURNING}, ensure_ascii=False).encode()
    answer = bridge.post("/webhooks/open", [("content-type", "application/json"), ("x-key", "key-of-the-open-source")], body)
    assert answer.status == 200, answer


def bury(bridge, backend="main"):
    """A dead letter of the newest event, as a lane would have made it."""
    event = bridge.page(limit=1000)["events"][-1]
    letter = {
        "id": f"{backend}-{int(event['sequence'])}", "backend": backend, "sequence": event["sequence"],
        "reason": "rejected", "detail": f"too large {TURNING}", "attempts": 3, "time_ms": 1_790_000_000_000, "event": event,
    }  # fmt: skip
    directory = bridge.journal_dir / "dead" / backend
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{event['sequence']}.json").write_text(json.dumps(letter))
    return letter["id"]


@pytest.fixture
def full(bridges, to_redis):
    bridge = bridges(OPEN + to_redis).start()
    for number in range(5):
        post(bridge, number)
    return bridge


def unread(arguments, cwd, env=None, stderr=False):
    """Runs a command whose output, and errors where `stderr`, nobody reads from the beginning."""
    ends = []

    def closed():
        reader, writer = os.pipe()
        os.close(reader)
        ends.append(writer)
        return writer

    process = subprocess.Popen(
        [binary(), *arguments], cwd=cwd, env=environment(cwd, env), stdin=subprocess.DEVNULL,
        stdout=closed(), stderr=closed() if stderr else subprocess.PIPE,
    )  # fmt: skip
    for end in ends:
        os.close(end)
    return process


def test_no_command_minds_that_nobody_reads_its_output(full, tmp_path):
    config, admin = ("--config", str(full.config_path)), ("--admin", full.admin_url)
    letters = [bury(full)]
    for number in (11, 12, 13):
        post(full, number)
        letters.append(bury(full))
    commands = [
        ("--help",), ("--version",), ("send", "--help"), ("providers",), ("providers", "github"), ("providers", "--markdown"),
        ("config", "default"), ("config", "schema"), ("completions", "bash"), ("man",),
        ("check", *config), ("check", "--connect", *config), ("healthcheck", *config),
        ("send", "open", *config), ("send", "open", "--count", "5", *config),
        ("events", "list", *admin), ("events", "list", "--json", *admin), ("events", "list", "--limit", "2", *admin),
        ("events", "show", "1", *admin), ("events", "show", "1", "--json", *admin),
        ("events", "replay", "1", "--backend", "main", *admin),
        ("events", "replay", "--from", "1", "--to", "3", "--backend", "main", "--wait", *admin),
        ("dead", "list", *admin), ("dead", "list", "--json", *admin), ("dead", "show", letters[0], *admin),
        ("dead", "replay", letters[0], *admin), ("dead", "drop", letters[1], *admin),
        ("dead", "drop", "--all", "--backend", "main", *admin),
    ]  # fmt: skip
    for arguments in commands:
        process = unread(arguments, tmp_path)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, (arguments, said)
        assert b"panicked" not in said and b"roken pipe" not in said, (arguments, said)
    for arguments in commands:
        process = unread(arguments, tmp_path, stderr=True)
        # A letter that is gone by now is an error; whether it can be told is not what decides.
        assert process.wait(60) in ((0, 1) if arguments[0] == "dead" else (0,)), arguments
    for arguments in (("nonsense",), ("providers", "githbu"), ("check", "--config", "nothing.toml")):
        assert unread(arguments, tmp_path, stderr=True).wait(60) == 2, arguments
    left = full.admin("GET", "/v1/dead-letters").json()["dead_letters"]
    assert left == [], "what was asked for is done though nobody reads of it"


def test_a_bridge_whose_log_nobody_reads_goes_on(bridges, senders, tmp_path):
    bridge = bridges(sources.only("acme"))
    bridge.arguments = ["--log", "debug"]
    process = unread(["serve", "--config", str(bridge.config_path), "--log", "debug"], bridge.directory, stderr=True)
    try:
        until(lambda: serves(bridge), 20, "livez")
        for _ in range(20):
            one = senders.make("acme")
            assert bridge.post(one.path, one.headers, one.body).status == 200
            assert bridge.post(one.path, one.headers, one.body + b" ").status == 401
        assert len(bridge.events()) == 20
    finally:
        process.terminate()
        assert process.wait(30) == 0


def serves(bridge):
    try:
        return bridge.admin("GET", "/livez").status == 200
    except OSError:
        return False


def test_what_senders_wrote_turns_no_line_around(full, tmp_path):
    bury(full)
    admin = ("--admin", full.admin_url)
    out = tmp_path / "tail"
    with open(out, "wb") as file:
        tail = subprocess.Popen([binary(), "tail", "--after", "0", *admin], cwd=tmp_path, env=environment(tmp_path), stdout=file)
    until(lambda: out.read_bytes().count(b"\n") == 5, 20, "lines of tail")
    tail.terminate()
    tail.wait(20)
    texts = {"tail": out.read_text()}
    for arguments in (("events", "list"), ("events", "show", "1"), ("dead", "list"), ("dead", "show", "main-5")):
        texts[arguments] = run(*arguments, *admin, cwd=tmp_path).stdout
        texts[(*arguments, "--json")] = run(*arguments, "--json", *admin, cwd=tmp_path).stdout
    for command, text in texts.items():
        assert text and not set(TURNING) - set("2J") & set(text), (command, text)
    # The meaning is what it was.
    for text in (texts["tail"], texts[("events", "list", "--json")]):
        events = [json.loads(line) for line in text.splitlines()]
        assert [event["id"] for event in events] == [f"{ID}{n}" for n in range(5)]
        assert {event["data"]["text"] for event in events} == {TURNING}


def test_json_is_an_object_a_line_for_every_command_on_events_and_letters(full, tmp_path):
    admin = ("--admin", full.admin_url)
    first = bury(full)
    post(full, 21)
    second = bury(full)

    def lines(*arguments):
        done = run(*arguments, "--json", *admin, cwd=tmp_path)
        assert done.returncode == 0, (arguments, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    assert [event["id"] for event in lines("events", "list", "--limit", "2")] == [f"{ID}{n}" for n in range(2)]
    assert lines("events", "show", "1")[0]["specversion"] == "1.0"
    assert lines("events", "replay", "1", "--backend", "main")[0]["status"] == "accepted"
    assert lines("events", "replay", "--from", "1", "--to", "5", "--backend", "main")[0]["from"].endswith("1")
    assert [letter["id"] for letter in lines("dead", "list")] == [first, second]
    assert lines("dead", "show", first)[0]["attempts"] == 3
    assert lines("dead", "replay", first) == [{"id": first, "status": "replaying"}]
    assert lines("dead", "drop", second) == [{"id": second, "status": "dropped"}]


def test_an_event_is_shown_with_where_it_is_and_how_long_that_took(bridges, to_redis, tmp_path):
    lost = '\n[backends.lost]\ntype = "redis"\nurl = "redis://127.0.0.1:1"\nstream = "x"\n'
    routes = '\n[[routes]]\nmatch = { type = "open.order.*" }\nto = ["main", "lost"]\n[[routes]]\nmatch = { type = "open.x" }\nto = ["lost"]\n'
    bridge = bridges(OPEN + to_redis + lost + routes).start()
    post(bridge, 1)
    post(bridge, 2, "x")
    bridge.wait_drained("main")
    until(lambda: bridge.metric("hookferry_publish_failures_total", backend="lost") > 0, 20, "a failed try")

    def places(sequence):
        found = bridge.admin("GET", f"/v1/events/{sequence}/deliveries").json()["deliveries"]
        return {place["backend"]: place for place in found}

    first, second = places(1), places(2)
    assert first["main"]["state"] == "delivered" and 0 <= first["main"]["seconds"] < 20
    assert first["lost"]["state"] == "waiting" and "onnection refused" in first["lost"]["detail"]
    assert (second["main"]["state"], second["main"]["seconds"]) == ("not_routed", None)
    shown = run("events", "show", "1", "--admin", bridge.admin_url, cwd=tmp_path).stdout
    assert re.search(r"^main +delivered \d+\.\d{3} s after its receipt$", shown, re.M), shown
    assert re.search(r"^lost +waiting: \d+ failed tries in a row", shown, re.M), shown
    assert bridge.admin("GET", "/v1/events/99/deliveries").status == 404


def at_a_terminal(arguments, cwd):
    """Starts a command whose errors go to a terminal; the process and the terminal's other end."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [binary(), *arguments], cwd=cwd, env=environment(cwd), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave
    )
    os.close(slave)
    return process, master


def seen(master, seconds=0.1):
    text = b""
    while select.select([master], [], [], seconds)[0]:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
    return text.decode()


def test_a_long_replay_shows_how_far_it_is_at_a_terminal_and_nowhere_else(full, tmp_path):
    full.wait_drained("main")
    assert full.admin("POST", "/v1/backends/main/pause").status == 200
    order = ("events", "replay", "--from", "1", "--to", "5", "--backend", "main", "--admin", full.admin_url)
    quiet = run(*order, cwd=tmp_path)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    process, terminal = at_a_terminal(order, tmp_path)
    shown = ""
    deadline = time.monotonic() + 20
    while "0 %" not in shown and time.monotonic() < deadline:
        shown += seen(terminal)
    assert re.search(r"\[ {30}\]   0 %  0 delivered", shown), shown
    assert process.poll() is None, "it waits for what is paused"
    waiting = subprocess.Popen(
        [binary(), *order, "--wait"], cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert full.admin("POST", "/v1/backends/main/resume").status == 200
    assert process.wait(30) == 0
    assert b"events 1 to 5 go to main again" in process.stdout.read()
    assert seen(terminal).endswith("\r\x1b[K"), "the line is taken back"
    os.close(terminal)
    out, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 0 and err == b"" and b"go to main again" in out
    assert full.admin("GET", "/v1/replays").json()["replays"] == []
