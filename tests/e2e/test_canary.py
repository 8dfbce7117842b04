"""No secret, signature or body in anything that the program says of itself, at the most talkative level."""

import json
import re
import signal

import pytest
from harness import sources
from harness.bridge import run
from harness.brokers import Redis
from harness.collector import Collector
from harness.secrets import ENV
from harness.wait import until

ADMIN = "canary-admin-7cc1"
REDIS = "canary-redis-19be"
RABBIT = "canary-rabbit-e0d2"
AWS = "canary-aws-secret-5577"
OTLP = "canary-otlp-31aa"
OPTION = "canary-option-88f0"
LITERAL = "canary-literal-0dd1"
COOKIE, BEARER = "canary-cookie-4e1f", "canary-bearer-2b90"
BODY = "canary-body-61d7"
SECRETS = [*ENV.values(), ADMIN, REDIS, RABBIT, AWS, OTLP, OPTION, LITERAL, COOKIE, BEARER]


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def locked_redis(tmp_path):
    """A Redis that asks for the password."""
    broker = Redis(tmp_path / "redis", "--requirepass", REDIS)
    plain = broker.client
    broker.client = lambda: plain().__class__(port=broker.port, password=REDIS, socket_timeout=30)
    broker.start()
    yield broker
    broker.close()


def config(redis, rabbit, sqs, queue, collector):
    return (
        sources.CONFIG.replace('headers  = ["x-github-*"]', 'headers  = ["*"]')
        + f"""
[sources.basic]
provider = "custom"
secrets = ["literal:{LITERAL}"]
headers = ["*"]
[sources.basic.verify]
kind = "hmac"
hash = "sha256"
encoding = "hex"
signature = {{ header = "x-basic-signature" }}
message = "{{body}}"

[sources.square]
provider = "mandrill"
secrets = ["env:OPTION"]
public_url = "https://hooks.example.com/webhooks/square"

[backends.main]
type = "redis"
url = "redis://:{REDIS}@127.0.0.1:{redis.port}"
stream = "events"

[backends.refused]
type = "rabbitmq"
url = "amqp://guest:{RABBIT}@127.0.0.1:{rabbit.port}/%2f"
exchange = "webhooks"

[backends.small]
type = "sqs"
queue_url = "{queue}"
endpoint = "{sqs.endpoint}"
region = "{sqs.region}"

[telemetry]
otlp_endpoint = "{collector.url}"
otlp_headers = {{ authorization = "Bearer {OTLP}" }}
"""
    )


def traffic(bridge, senders):
    """Accepted, refused and odd requests of every source; the signatures that they carried."""
    signatures = set()
    more = [("Cookie", COOKIE), ("Authorization", f"Bearer {BEARER}")]
    for name in sources.NAMES:
        good = senders.make(name)
        wrong = senders.make(name, secret="whsec_" + "d3Jvbmc" * 4 if name in ("lab", "ai", "std") else "wrong")
        for one in (good, wrong):
            proof = [value for key, value in one.headers if "signature" in key.lower() or "hmac" in key.lower()]
            assert proof, one.headers
            signatures.update(part for value in proof for part in re.findall(r"[\w+/-]{20,}", value))
        assert bridge.post(good.path, good.headers + more, good.body).status == 200, name
        assert bridge.post(good.path, good.headers, good.body).json()["status"] == "duplicate"
        assert bridge.post(wrong.path, wrong.headers + more, wrong.body).status == 401, name
        assert bridge.post(good.path, [("Content-Type", "application/json")], good.body).status == 401
        assert bridge.post(good.path, good.headers, good.body + BODY.encode()).status == 401
    one = senders.make("acme", body=json.dumps({"type": "odd", "x": BODY}).encode(), type="odd")
    assert bridge.post(one.path, one.headers + more, one.body).status == 200
    big = senders.make("acme", body=json.dumps({"type": "big", "x": BODY + "x" * 400_000}).encode(), type="big")
    assert bridge.post(big.path, big.headers, big.body).status == 200
    bridge.request("GET", f"/{BODY}?token={LITERAL}", more)
    return signatures


def test_no_secret_signature_or_body_is_in_anything_that_is_said(
    bridges, senders, locked_redis, rabbit, sqs, collector
):
    queue = sqs.queue(sources.unique("canary-"), MaximumMessageSize="262144")
    env = {"OPTION": OPTION, "AWS_SECRET_ACCESS_KEY": AWS}
    text = config(locked_redis, rabbit, sqs, queue, collector)
    bridge = bridges(text, admin=f'token = "literal:{ADMIN}"', env=env, arguments=["--log", "trace"])
    bridge.token = ADMIN
    bridge.start()
    assert bridge.admin("GET", "/v1/log-level").json() == {"level": "trace"}
    signatures = traffic(bridge, senders)
    assert len(signatures) >= 2 * len(sources.NAMES), signatures
    until(lambda: bridge.metric("hookferry_dead_letters", backend="small") == 1, 20, "a dead letter")
    until(lambda: bridge.metric("hookferry_published_total", backend="main") == len(sources.NAMES) + 2, 20, "publishes")
    until(lambda: bridge.metric("hookferry_publish_failures_total", backend="refused") > 0, 20, "a refused login")
    bridge.configure(text.replace("literal:" + LITERAL, "literal:").replace("env:OPTION", "env:NOT_THERE"))
    bridge.signal(signal.SIGHUP)
    until(lambda: bridge.metric("hookferry_config_reloads_total", result="failure"), 10, "a refused reload")
    bad_token = bridge.token = "canary-wrong-token"
    assert bridge.admin("GET", "/v1/status").status == 401
    bridge.token = ADMIN

    def get(path):
        reply = bridge.admin("GET", path)
        assert reply.status == 200, (path, reply)
        return reply.body.decode()

    letters = json.loads(get("/v1/dead-letters"))["dead_letters"]
    said = {path: get(path) for path in ("/metrics", "/readyz", "/v1/status", "/v1/sources", "/v1/backends", "/v1/log-level")}
    said["reasons"] = json.dumps([{k: v for k, v in letter.items() if k not in ("event", "data")} for letter in letters])
    bridge.configure(text)
    for name, arguments in {"check": ["check"], "connect": ["check", "--connect"]}.items():
        done = run(*arguments, "--config", str(bridge.config_path), cwd=bridge.directory, env={**env, "HOOKFERRY_LOG": "trace"})
        said[name] = done.stdout + done.stderr
    events = get("/v1/events?limit=100")
    assert bridge.stop() == 0
    said["log"] = bridge.logs()
    assert "event accepted" in said["log"] and "request refused" in said["log"], "it did say something"
    said["spans"] = "".join(body.decode("latin-1") for _, _, body in collector.requests)
    for place, output in said.items():
        for canary in [*SECRETS, *signatures, BODY, bad_token]:
            assert canary not in output, f"{canary} in {place}"
    for canary in [*SECRETS, *signatures]:
        assert canary not in events, f"{canary} in the events"
