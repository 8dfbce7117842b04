"""What SQS answers when it is throttled or takes a batch in part: each entry counts for itself.

No emulator throttles, so a relay stands before a real one (MiniStack) and refuses some calls or entries as AWS does.
"""

import http.client
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from harness import sources
from harness.brokers import SqsReader
from harness.load import Load, check_books
from harness.sources import unique
from harness.wait import until


SILENT = None, None


class Relay:
    """Passes SQS calls on. `throttle`: whole calls are refused; `refuse` maps a message's text to a code and whether the
    sender is at fault, or `None`: such entries are refused, the others passed on. `SILENT`: neither, and not a word of it."""

    def __init__(self, sqs):
        self.sqs = sqs
        self.throttle = False
        self.refuse = lambda text: None
        self.throttled = 0
        self.refused = Counter()
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status, answer = relay.answer(self.headers, body)
                self.send_response(status)
                self.send_header("content-type", "application/x-amz-json-1.0")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, headers, body):
        if not headers["x-amz-target"].endswith("SendMessageBatch"):
            return self.ask(headers, body)
        if self.throttle:
            self.throttled += 1
            return 400, json.dumps(
                {"__type": "com.amazonaws.sqs#RequestThrottled", "message": "The request was denied"}
            ).encode()
        call = json.loads(body)
        failed, passed = [], []
        for entry in call["Entries"]:
            why = self.refuse(entry["MessageBody"])
            if why is None:
                passed.append(entry)
                continue
            if why is SILENT:
                continue
            code, fault = why
            self.refused[json.loads(entry["MessageBody"])["id"]] += 1
            failed.append({"Id": entry["Id"], "Code": code, "SenderFault": fault, "Message": "as the test wants it"})
        answer = {"Successful": [], "Failed": []}
        if passed:
            status, told = self.ask(headers, json.dumps({**call, "Entries": passed}).encode())
            if status != 200:
                return status, told
            answer = json.loads(told)
        answer["Failed"] = answer.get("Failed", []) + failed
        return 200, json.dumps(answer).encode()

    def ask(self, headers, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.sqs.port, timeout=30)
        names = ("x-amz-target", "content-type", "authorization", "x-amz-date")
        connection.request("POST", "/", body, {name: headers[name] for name in names if headers[name]})
        answer = connection.getresponse()
        told = answer.status, answer.read()
        connection.close()
        return told

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def relay(sqs):
    relay = Relay(sqs)
    yield relay
    relay.close()


def orders(relay, url):
    return (
        f'\n[backends.orders]\ntype = "sqs"\nqueue_url = "{url}"\n'
        f'endpoint = "{relay.endpoint}"\nregion = "{relay.sqs.region}"\n'
    )


def arrived(sqs, url):
    return [message["Body"].encode() for message in SqsReader(sqs, url).drain()]


def test_a_throttled_sqs_is_waited_for_and_nothing_is_buried(bridges, oracles, sqs, relay):
    url = sqs.queue(unique("q-"))
    bridge = bridges(sources.only("acme") + orders(relay, url)).start()
    load = Load(bridge, oracles, senders=3).start()
    load.reach(40)
    relay.throttle = True
    until(lambda: relay.throttled >= 3, 20, "tries while it throttles")
    load.reach(len(load.acknowledged) + 100)
    assert relay.throttled < 60, "a storm of calls"
    relay.throttle = False
    load.stop()
    load.check_unnoticed()
    bridge.wait_drained("orders", seconds=60)
    assert bridge.metric("hookferry_dead_letters", backend="orders") == 0
    check_books(load, sorted(arrived(sqs, url), key=lambda text: json.loads(text)["sequence"]))


def test_entries_that_sqs_refuses_alone_are_tried_again_or_buried_alone(bridges, senders, sqs, relay):
    """Some heal (throttled, an internal error), one never does (its content): the rest of each batch stands."""
    url = sqs.queue(unique("q-"))
    bridge = bridges(sources.only("acme") + orders(relay, url)).start()
    tries = Counter()

    def refuse(text):
        event = json.loads(text)
        kind = event["data"]["n"][:2]
        tries[event["id"]] += 1
        if kind == "no":
            return "InvalidMessageContents", True
        if kind == "th" and tries[event["id"]] <= 2:
            return "RequestThrottled", True
        if kind == "in" and tries[event["id"]] <= 2:
            return "InternalError", False
        return None

    relay.refuse = refuse
    sent = [senders.make("acme", id=unique(kind)) for kind in ["ok", "th", "ok", "no", "in", "ok", "ok"] * 5]
    for one in sent:
        assert bridge.post(one.path, one.headers, one.body).status == 200
    bridge.wait_drained("orders", seconds=40)
    texts = [json.loads(text)["id"] for text in arrived(sqs, url)]
    never = {one.id for one in sent if one.id.startswith("no")}
    assert Counter(texts) == Counter(one.id for one in sent if one.id not in never), "one is lost, doubled or buried"
    assert bridge.metric("hookferry_dead_letters", backend="orders") == len(never)
    assert all(relay.refused[one] == 1 for one in never), "what can never be taken is tried once"
    letters = json.loads(bridge.admin("GET", "/v1/dead-letters?backend=orders&limit=100").body)["dead_letters"]
    assert {letter["event"]["id"] for letter in letters} == never


def test_a_group_of_a_fifo_queue_waits_for_an_entry_that_is_refused_for_now(bridges, senders, sqs, relay):
    url = sqs.queue(unique("q-") + ".fifo", FifoQueue="true")
    bridge = bridges(sources.only("acme") + orders(relay, url)).start()
    tries = Counter()

    def refuse(text):
        event = json.loads(text)
        tries[event["id"]] += 1
        late = event["data"]["n"].startswith("th") and tries[event["id"]] <= 2
        return ("RequestThrottled", True) if late else None

    relay.refuse = refuse
    sent = [senders.make("acme", id=unique(kind)) for kind in ["ok", "th", "ok", "ok"] * 3]
    for one in sent:
        assert bridge.post(one.path, one.headers, one.body).status == 200
    bridge.wait_drained("orders", seconds=60)
    assert [json.loads(text)["id"] for text in arrived(sqs, url)] == [one.id for one in sent]


def test_a_group_of_a_fifo_queue_waits_for_an_entry_that_the_answer_leaves_out(bridges, senders, sqs, relay):
    url = sqs.queue(unique("q-") + ".fifo", FifoQueue="true")
    bridge = bridges(sources.only("acme") + orders(relay, url)).start()
    tries = Counter()

    def refuse(text):
        event = json.loads(text)
        tries[event["id"]] += 1
        return SILENT if event["data"]["n"].startswith("no") and tries[event["id"]] <= 2 else None

    relay.refuse = refuse
    # Meanwhile they gather: the entry and those behind it are in one batch.
    bridge.admin("POST", "/v1/backends/orders/pause")
    sent = [senders.make("acme", id=unique(kind)) for kind in ["ok", "no", "ok", "ok"] * 3]
    for one in sent:
        assert bridge.post(one.path, one.headers, one.body).status == 200
    bridge.admin("POST", "/v1/backends/orders/resume")
    bridge.wait_drained("orders", seconds=60)
    assert [json.loads(text)["id"] for text in arrived(sqs, url)] == [one.id for one in sent]
