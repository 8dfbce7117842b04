"""The commands as a person uses them, on the built program."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import tomllib

import pytest
from harness import ports, sources
from harness.bridge import Bridge, binary, environment, run
from harness.http import Client
from harness.secrets import ENV
from harness.wait import until


class Default:
    """`hookferry` as in the first five minutes: an empty directory and nothing else, but for other ports."""

    def __init__(self, directory, *arguments):
        self.directory = directory
        self.port, self.admin_port = ports.free(), ports.free()
        self.env = {
            "HOOKFERRY__SERVER__LISTEN": f"127.0.0.1:{self.port}",
            "HOOKFERRY__ADMIN__LISTEN": f"127.0.0.1:{self.admin_port}",
        }
        self.log_path = directory / "said"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [binary(), *arguments],
                cwd=directory,
                env=environment(directory, self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self):
        client = Client(self.admin_port)

        def ready():
            assert self.process.poll() is None, self.said()
            try:
                return client.request("GET", "/readyz").status == 200
            except OSError:
                return False

        until(ready, 30, "readyz 200")
        client.close()
        return self

    def said(self):
        return self.log_path.read_text(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(30)
        assert "panicked" not in self.said()
        return status


@pytest.fixture
def default(tmp_path):
    started = []

    def start(*arguments):
        started.append(Default(tmp_path, *arguments))
        return started[-1].wait_ready()

    yield start
    for one in started:
        assert one.stop() == 0


# The first five minutes


@pytest.mark.parametrize("arguments", [(), ("serve",)])
def test_without_arguments_it_serves_and_says_what_to_do_next(default, tmp_path, arguments):
    bridge = default(*arguments)
    said = until(lambda: "hookferry tail" in bridge.said() and bridge.said(), what="what to do next")
    assert f"http://127.0.0.1:{bridge.port}/webhooks/demo" in said
    assert "hookferry send demo" in said
    secret = tmp_path / "data" / "demo.secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    text = secret.read_text().strip()
    assert text.startswith("whsec_") and len(text) >= 38
    assert text not in said and text.removeprefix("whsec_") not in said


def test_send_demo_is_accepted_and_tail_shows_it(default, tmp_path):
    bridge = default()
    env = bridge.env
    sent = run("send", "demo", cwd=tmp_path, env=env)
    assert sent.returncode == 0, sent
    assert "200" in sent.stdout and re.search(r"\d\s?(ms|µs|s)\b", sent.stdout), sent.stdout
    out = tmp_path / "tail"
    with open(out, "wb") as file:
        tail = subprocess.Popen(
            [binary(), "tail", "--after", "0", "--admin", f"http://127.0.0.1:{bridge.admin_port}"],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=file,
        )
    try:
        line = until(lambda: out.read_text().endswith("\n") and out.read_text(), what="a line of tail")
        event = json.loads(line.splitlines()[0])
        assert event["source"] == "urn:webhook:demo"
        assert event["specversion"] == "1.0"
        assert event["verification"] == "hmac-sha256"
        again = run("send", "demo", "--type", "invoice.paid", "--id", "msg_mine", cwd=tmp_path, env=env)
        assert again.returncode == 0, again
        until(lambda: "msg_mine" in out.read_text(), what="the second event")
        second = json.loads(out.read_text().splitlines()[1])
        assert second["id"] == "msg_mine"
        assert second["type"].endswith(".invoice.paid")
    finally:
        tail.terminate()
        tail.wait(20)


def test_the_demo_secret_stays_over_a_restart(default, tmp_path):
    bridge = default()
    first = (tmp_path / "data" / "demo.secret").read_text()
    assert bridge.stop() == 0
    again = default()
    assert (tmp_path / "data" / "demo.secret").read_text() == first
    assert run("send", "demo", cwd=tmp_path, env=again.env).returncode == 0


def test_tail_with_line_breaks_in_data_prints_one_line_an_event(bridges, senders, tmp_path):
    bridge = bridges(sources.CONFIG).start()
    body = b'{\r\n  "type": "invoice.paid",\n  "text": "a\\nb"\n}\n'
    one, other = senders.make("std", body), senders.make("code", type="push")
    for request in (one, other):
        assert bridge.post(request.path, request.headers, request.body).status == 200
    for extra, count in (((), 2), (("--source", "std"), 1), (("--type", "github.*"), 1)):
        out = tmp_path / f"tail{count}{len(extra)}{extra[:1]}"
        with open(out, "wb") as file:
            tail = subprocess.Popen(
                [binary(), "tail", "--after", "0", "--admin", bridge.admin_url, *extra],
                cwd=tmp_path,
                env=environment(tmp_path),
                stdout=file,
                stderr=subprocess.DEVNULL,
            )
        try:
            until(lambda out=out, count=count: out.read_bytes().count(b"\n") >= count, what="lines of tail")
        finally:
            tail.terminate()
            tail.wait(20)
        events = [json.loads(line) for line in out.read_bytes().splitlines()]
        assert len(events) == count
        if extra != ("--type", "github.*"):
            assert events[0]["id"] == one.id
            assert events[0]["data"] == {"type": "invoice.paid", "text": "a\nb"}


def test_tail_ends_quietly_when_its_reader_is_gone(bridges, senders, tmp_path):
    bridge = bridges(sources.only("std")).start()
    one = senders.make("std")
    assert bridge.post(one.path, one.headers, one.body).status == 200
    script = f'"{binary()}" tail --after 0 --admin {bridge.admin_url} | head -n 1; echo "status ${{PIPESTATUS[0]}}"'
    pipe = subprocess.Popen(
        ["bash", "-c", script], cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # No further event comes that a write could fail on.
    out, err = pipe.communicate(timeout=20)
    lines = out.decode().splitlines()
    assert json.loads(lines[0])["id"] == one.id
    assert lines[-1] == "status 0", lines
    assert b"panicked" not in err and b"Broken pipe" not in err, err


def test_tail_needs_the_token_and_takes_it(bridges, senders, tmp_path):
    bridge = bridges(sources.only("std"), admin='token = "env:ADMIN_TOKEN"').start()
    bridge.token = ENV["ADMIN_TOKEN"]
    one = senders.make("std")
    assert bridge.post(one.path, one.headers, one.body).status == 200
    refused = run("tail", "--after", "0", "--admin", bridge.admin_url, "--token", "wrong", cwd=tmp_path)
    assert refused.returncode == 1
    assert "401" in refused.stderr or "token" in refused.stderr
    out = tmp_path / "tail"
    with open(out, "wb") as file:
        tail = subprocess.Popen(
            [binary(), "tail", "--after", "0", "--admin", bridge.admin_url],
            cwd=tmp_path,
            env=environment(tmp_path, {"HOOKFERRY_ADMIN_TOKEN": ENV["ADMIN_TOKEN"]}),
            stdout=file,
        )
    try:
        until(lambda: out.read_bytes().count(b"\n") >= 1, what="a line of tail")
    finally:
        tail.terminate()
        tail.wait(20)


# send


@pytest.mark.parametrize("source", sources.NAMES)
def test_send_signs_as_each_provider_does(bridges, tmp_path, source):
    bridge = bridges(sources.CONFIG).start()
    done = run("send", source, "--config", str(bridge.config_path), cwd=tmp_path)
    assert done.returncode == 0, done
    assert "200" in done.stdout
    (event,) = bridge.events()
    assert event["source"] == f"urn:webhook:{source}"
    assert not event["type"].endswith(".unknown"), event["type"]


def test_send_takes_a_body_from_a_file_and_from_its_input(bridges, tmp_path):
    bridge = bridges(sources.CONFIG).start()
    config = ("--config", str(bridge.config_path))
    body = '{"type":"invoice.paid",  "n": 1.10}\r\n'
    (tmp_path / "body.json").write_bytes(body.encode())
    assert run("send", "std", "body.json", *config, cwd=tmp_path).returncode == 0
    assert run("send", "std", "-", *config, cwd=tmp_path, stdin=body.replace("1.10", "2.20")).returncode == 0
    raw = bridge.admin("GET", "/v1/events").body
    assert b'"data":' + body.encode() + b"}" in raw
    assert b'"n": 2.20' in raw
    missing = run("send", "std", "nothing.json", *config, cwd=tmp_path)
    assert missing.returncode in (1, 2) and "nothing.json" in missing.stderr


@pytest.mark.parametrize(
    ("fault", "status", "word"),
    [
        ("bad-signature", "401", "signature_mismatch"),
        ("stale", "401", "timestamp_out_of_tolerance"),
        ("missing-signature", "401", "signature_missing"),
        ("tampered", "401", "signature_mismatch"),
        ("oversized", "413", "body_too_large"),
        ("duplicate", "200", "duplicate"),
    ],
)
def test_send_makes_each_fault_and_the_bridge_answers_as_it_must(bridges, tmp_path, fault, status, word):
    bridge = bridges(sources.CONFIG).start()
    done = run("send", "std", "--fault", fault, "--config", str(bridge.config_path), cwd=tmp_path)
    assert status in done.stdout and word in done.stdout, done
    assert bridge.metric("hookferry_requests_total", source="std", outcome=word) >= 1


def test_send_says_what_is_wrong_when_nothing_listens(bridges, tmp_path):
    bridge = bridges(sources.only("std"))
    done = run("send", "std", "--config", str(bridge.config_path), cwd=tmp_path)
    assert done.returncode == 1
    assert str(bridge.port) in done.stderr + done.stdout
    unknown = run("send", "nobody", "--config", str(bridge.config_path), cwd=tmp_path)
    assert unknown.returncode == 2
    assert "nobody" in unknown.stderr and "std" in unknown.stderr


def test_send_sums_up_a_run_of_many(bridges, tmp_path):
    bridge = bridges(sources.only("std")).start()
    done = run(
        *("send", "std", "--config", str(bridge.config_path), "--count", "300", "--connections", "8"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done
    assert re.search(r"\b300\b", done.stdout), done.stdout
    assert re.search(r"p50|p99|median", done.stdout), done.stdout
    assert len({event["id"] for event in bridge.events()}) == 300
    paced = run(
        *("send", "std", "--config", str(bridge.config_path), "--count", "50", "--connections", "2", "--rate", "50"),
        cwd=tmp_path,
    )
    assert paced.returncode == 0, paced
    assert bridge.metric("hookferry_events_total", source="std") == 350


# check


def test_check_tells_what_each_source_and_backend_will_do(bridges, tmp_path, to_redis):
    bridge = bridges(sources.CONFIG + to_redis)
    done = run("check", "--config", str(bridge.config_path), cwd=tmp_path)
    assert done.returncode == 0, done
    for word in [*sources.NAMES, "main", "/webhooks/code", "redis"]:
        assert word in done.stdout, word


def test_check_connect_names_what_would_lose_data(bridges, tmp_path, redis, rabbit):
    """A Redis that only keeps memory, and a queue that is not there."""
    client = redis.client()
    client.config_set("appendonly", "no")
    try:
        bridge = bridges(
            sources.only("std")
            + f'\n[backends.main]\ntype = "redis"\nurl = "{redis.url}"\nstream = "s"\n'
            + f'\n[backends.rabbit]\ntype = "rabbitmq"\nurl = "{rabbit.url}"\nexchange = "nothing-here"\n'
            'queue = "none"\nrouting_key = "x"\ndeclare = false\n'
        )
        done = run("check", "--connect", "--config", str(bridge.config_path), cwd=tmp_path)
        said = done.stdout + done.stderr
        assert re.search(r"AOF|appendonly", said), said
        assert "nothing-here" in said, said
        assert done.returncode == 1
    finally:
        client.config_set("appendonly", "yes")


def test_check_tells_every_mistake_at_once_with_file_and_key(tmp_path):
    bad = tmp_path / "bad.toml"
    bad.write_text(
        """
[server]
listen   = "nowhere"
max_bdoy = "1MiB"
body_timeout = "soon"

[journal]
segment_bytes = "lots"

[sources.a]
provider = "githbu"
secrets  = ["env:GITHUB_SECRET"]

[sources.b]
provider = "github"
secrets  = ["env:NOT_SET_ANYWHERE"]

[sources.c]
provider = "github"

[sources.d]
provider = "none"

[sources.e]
provider = "github"
secrets  = ["file:/no/such/file"]
backends = ["nowhere"]

[sources.f]
provider = "github"
secrets  = ["literal:"]
allow_ips = ["300.0.0.0/8"]

[backends.x]
type = "kafka"

[backends.y]
type = "redis"

[[routes]]
match = { source = "nobody" }
to    = ["main"]
"""
    )
    done = run("check", "--config", "bad.toml", cwd=tmp_path)
    assert done.returncode == 2, done
    for key in (
        "server.listen", "server.max_bdoy", "server.body_timeout", "journal.segment_bytes", "sources.a.provider",
        "sources.b.secrets", "sources.c", "sources.d", "sources.e.secrets", "sources.e.backends", "sources.f.secrets",
        "sources.f.allow_ips", "backends.x", "backends.y", "routes",
    ):  # fmt: skip
        lines = [line for line in done.stderr.splitlines() if key in line]
        assert lines, f"nothing about {key} in:\n{done.stderr}"
        assert any("bad.toml" in line for line in lines), lines
    assert "max_body" in done.stderr, "the key that was meant"
    assert "NOT_SET_ANYWHERE" in done.stderr
    # The same mistakes stop the start.
    served = run("serve", "--config", "bad.toml", cwd=tmp_path)
    assert served.returncode == 2
    assert "max_bdoy" in served.stderr
    assert not (tmp_path / "data").exists(), "a start that fails leaves nothing behind"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.toml", "[server\nlisten = 1"),
        ("c.yaml", "server: [unclosed"),
        ("c.json", '{"server": {'),
        ("c.ini", "x"),
        ("missing.toml", None),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    done = run("check", "--config", name, cwd=tmp_path)
    assert done.returncode == 2
    assert name in done.stderr


def test_layers_and_the_environment_override_in_order(bridges, senders, tmp_path):
    bridge = bridges(sources.only("std"), env={"HOOKFERRY__SERVER__MAX_BODY": "2KiB"})
    over = bridge.directory / "over.yaml"
    over.write_text("server:\n  max_body: 1KiB\nsources:\n  std:\n    path: /in/std\n")
    bridge.arguments = ["--config", str(over)]
    bridge.start()
    bodies = {
        200: b'{"type":"a","x":"' + b"y" * 1500 + b'"}',
        413: b'{"type":"a","x":"' + b"y" * 2500 + b'"}',
    }
    for status, body in bodies.items():
        one = senders.make("std", body)
        assert bridge.post("/in/std", one.headers, body).status == status
        assert bridge.post("/webhooks/std", one.headers, body).status == 404
    bridge.env = {}  # the closing check looks for secrets, and a size is none


def test_the_default_configuration_loads_as_a_file(tmp_path):
    default = run("config", "default", cwd=tmp_path)
    assert default.returncode == 0
    parsed = tomllib.loads(default.stdout)
    assert parsed["server"]["listen"] == "127.0.0.1:8080"
    assert parsed["journal"]["dir"] == "data"
    (tmp_path / "default.toml").write_text(default.stdout)
    assert run("check", "--config", "default.toml", cwd=tmp_path).returncode == 0


# providers, help, logs


def test_providers_lists_the_catalogue_and_shows_one_in_full(tmp_path):
    listed = run("providers", cwd=tmp_path)
    assert listed.returncode == 0
    names = ["github", "stripe", "slack", "shopify", "gitlab", "openai", "standard-webhooks"]
    for name in names:
        assert name in listed.stdout
        one = run("providers", name, cwd=tmp_path)
        assert one.returncode == 0
    github = run("providers", "github", cwd=tmp_path).stdout.lower()
    assert "x-hub-signature-256" in github and "x-github-delivery" in github
    unknown = run("providers", "githbu", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "github" in unknown.stderr


def test_a_wrong_command_line_exits_2_and_help_exits_0(tmp_path):
    for arguments in (("--nonsense",), ("nonsense",), ("send",), ("tail", "--after", "x")):
        assert run(*arguments, cwd=tmp_path).returncode == 2, arguments
    for arguments in (("--help",), ("send", "--help"), ("--version",)):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout


def test_an_environment_that_is_not_text_is_no_panic(bridges, tmp_path):
    bridge = bridges(sources.only("std")).start()
    done = run("events", "list", "--admin", bridge.admin_url, cwd=tmp_path, env={"ODD": "\udcff"})
    assert done.returncode == 0, done


def test_output_into_a_closed_pipe_is_no_panic(tmp_path):
    for arguments in ("config default", "providers", "--help"):
        done = subprocess.run(
            ["bash", "-c", f'"{binary()}" {arguments} | head -c 1 >/dev/null'],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert b"panicked" not in done.stderr, done.stderr


def test_secrets_bodies_and_signatures_are_never_logged(bridges, senders, tmp_path, to_redis):
    """The fixtures check every log for secrets; here bodies and signatures too, at the most talkative level."""
    marker = "body-canary-51c9e0"
    bridge = bridges(
        sources.CONFIG + to_redis,
        env={"RUST_LOG": "trace", "HOOKFERRY_LOG": "trace"},
        arguments=["--log-format", "json"],
    ).start()
    signatures = []
    for source in sources.NAMES:
        body = json.dumps({"type": "a", "id": "e", "event_id": "e", "marker": marker}).encode()
        one = senders.make(source, body)
        signatures += [value for name, value in one.headers if "signature" in name.lower() or "hmac" in name.lower()]
        assert bridge.post(one.path, one.headers, one.body).status == 200
        assert bridge.post(one.path, one.headers, one.body + b" ").status == 401
    bridge.wait_drained("main")
    bridge.env = {}
    assert bridge.stop() == 0
    logs = bridge.logs()
    assert marker not in logs
    for signature in signatures:
        value = re.split(r"v1=|v1,|v0=|sha256=", signature)[-1]
        assert value not in logs, signature
    for line in bridge.logs(kinds=["log"]).splitlines():
        json.loads(line)


def test_a_secret_in_a_url_is_never_shown(bridges, tmp_path):
    """Passwords of brokers stand in URLs; errors like to print those."""
    bridge = bridges(
        sources.only("std")
        + '\n[backends.main]\ntype = "redis"\nurl = "redis://user:url-canary-3377@127.0.0.1:9"\nstream = "s"\n'
        + '\n[backends.rabbit]\ntype = "rabbitmq"\nurl = "amqp://user:url-canary-3377@127.0.0.1:9/%2f"\nexchange = "e"\n'
    ).start()
    until(lambda: bridge.metric("hookferry_publish_failures_total") >= 0 and bridge.metrics(), what="figures")
    checked = run("check", "--connect", "--config", str(bridge.config_path), cwd=tmp_path)
    assert checked.returncode == 1
    time.sleep(0.5)  # failed attempts to connect are being logged
    for text in (checked.stdout, checked.stderr, bridge.log(), bridge.admin("GET", "/readyz").body.decode()):
        assert "url-canary-3377" not in text


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_exits_0_within_the_grace(bridges, number):
    bridge = bridges(sources.only("std")).start()
    started = time.monotonic()
    bridge.signal(number)
    assert bridge.wait_end(20) == 0
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_start_ends_it_at_once(bridges, number):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/ranges"
        waits = sources.only("std").replace("[sources.std]", f'[sources.std]\nallow_ips = ["{url}"]')
        bridge = bridges(waits).spawn()
        silent.settimeout(20)
        asked, _ = silent.accept()
        started = time.monotonic()
        bridge.signal(number)
        assert bridge.wait_end(20) == 0
        assert time.monotonic() - started < 2
        asked.close()


def test_a_stop_waits_for_no_read_that_hangs(bridges, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(sources.SECRETS["std"][1])
    bridge = bridges(sources.only("std").replace("env:STANDARD_SECRET", f"file:{secret}")).start()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe").replace(secret)
    bridge.signal(signal.SIGHUP)

    def reader():
        try:
            return os.open(secret, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    held = until(reader, 10, "the bridge to read what never comes")
    assert bridge.stop(10) == 0
    os.close(held)


def test_a_port_that_is_taken_is_named(bridges):
    first = bridges(sources.only("std")).start()
    second = Bridge(first.directory / "second", sources.only("std"))
    second.config_path.write_text(
        second.config_path.read_text().replace(f"127.0.0.1:{second.port}", f"127.0.0.1:{first.port}")
    )
    second.spawn()
    assert second.wait_end(15) == 1
    assert str(first.port) in second.log()

