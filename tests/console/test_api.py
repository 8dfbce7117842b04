"""The admin API against its own OpenAPI document, the search, and what a refusal tells."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import sources

TOKEN = "correct-horse-battery"
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "negative_data_rejection",
    "ignored_auth",
]


@pytest.mark.parametrize("seconds", [25, pytest.param(300, marks=pytest.mark.long)])
def test_every_answer_is_as_the_document_says(bridges, senders, to_redis, seconds):
    bridge = bridges(sources.CONFIG + to_redis, admin=f'token = "literal:{TOKEN}"')
    bridge.token = TOKEN
    bridge.start()
    for _ in range(20):
        one = senders.make("std")
        assert bridge.post(one.path, one.headers, one.body).status == 200
    # The stream does not end; its answer has a test of its own.
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "--no-color", "run", f"{bridge.admin_url}/openapi.json",
            "--header", f"Authorization: Bearer {TOKEN}", "--checks", ",".join(CHECKS),
            "--exclude-path", "/v1/events/stream", "--max-time", str(seconds), "--generation-deterministic",
            "--no-shrink", "--request-timeout", "10", "--warnings", "off",
        ],
        cwd=bridge.directory,
        env={"PATH": "/usr/bin:/bin", "HOME": str(bridge.directory), "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert "generated" in run.stdout, run.stdout


def ids(reply):
    return [event["id"] for event in reply["events"]]


def test_events_are_found_by_id_type_source_and_time(bridges, senders):
    bridge = bridges(sources.CONFIG).start()
    sent = []
    for at in range(3):
        for _ in range(4):
            one = senders.make("std")
            assert bridge.post(one.path, one.headers, one.body).status == 200
            sent.append(one.id)
        if at < 2:
            # Times of receipt that differ by more than the search's tolerance of their order.
            time.sleep(2.1)
    events = bridge.page()["events"]
    middle = events[4]["recordedtime"]
    assert ids(bridge.page(order="newest", limit=3)) == sent[:-4:-1]
    assert ids(bridge.page(order="newest", limit=3, before=bridge.page(order="newest", limit=3)["next"])) == sent[-4:-7:-1]
    assert ids(bridge.page(id=sent[5])) == ids(bridge.page(id=sent[5], order="newest")) == [sent[5]]
    assert ids(bridge.page(since=middle)) == sent[4:]
    assert ids(bridge.page(until=middle)) == ids(bridge.page(until=middle, order="newest"))[::-1] == sent[:4]
    assert ids(bridge.page(since=middle, until=events[8]["recordedtime"])) == sent[4:8]
    assert ids(bridge.page(source="std", type="standard*", since="1m")) in (sent, [])
    assert ids(bridge.page(source="other", order="newest")) == []
    bare = bridge.page(order="newest", limit=1, data="false")["events"][0]
    assert bare["id"] == sent[-1] and "data" not in bare
    assert bridge.admin("GET", "/v1/consumers/x/events?before=3").status == 400
    for query in ["since=yesterday", "order=up", "before=1", "after=1&order=newest", "after=-1", "after=%2B1", "limit=0"]:
        reply = bridge.admin("GET", f"/v1/events?{query}")
        assert (reply.status, reply.problem) == (400, "invalid_request"), query


def test_a_page_of_the_newest_events_takes_bounded_memory_and_the_next_ones_miss_none(bridges, senders):
    bridge = bridges(sources.only("std")).start()
    sent = []
    for _ in range(30):
        one = senders.make("std", b'{"type":"a.b","x":"' + b"y" * 1_000_000 + b'"}')
        assert bridge.post(one.path, one.headers, one.body).status == 200
        sent.append(one.id)
    found, before = [], None
    while len(found) < len(sent):
        page = bridge.page(order="newest", limit=1000, before=before)
        assert 1 <= len(page["events"]) <= 9, "8 MiB of bodies, and the event that reaches over them"
        found += ids(page)
        before = page["next"]
    assert found == sent[::-1]
    assert ids(bridge.page(order="newest", limit=1000, before=before)) == []


def test_a_refusal_tells_what_was_seen_and_no_secret(bridges, senders):
    bridge = bridges(sources.CONFIG).start()
    one = senders.make("std")
    for _ in range(3):
        assert bridge.post(one.path, one.headers, one.body + b" ").status == 401
    assert bridge.post(one.path, [("content-type", "application/json")], one.body).status == 401
    reply = bridge.admin("GET", "/v1/refusals?source=std").json()
    by_code = {entry["code"]: entry for entry in reply["refusals"]}
    assert by_code["signature_mismatch"]["times"] == 3
    assert any("no key gives it" in remark for remark in by_code["signature_mismatch"]["seen"])
    assert any("absent" in remark for remark in by_code["signature_missing"]["seen"])
    signature = dict((name.lower(), value) for name, value in one.headers)["webhook-signature"]
    assert signature.split(",")[1] not in json.dumps(reply)
