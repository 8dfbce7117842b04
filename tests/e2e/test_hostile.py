"""What a sender writes is data: in logs, figures, commands and schemas, whatever bytes it is made of."""

import json
import re
import socket
import subprocess

import pytest
from harness import sources
from harness.bridge import binary, environment, run
from harness.http import raw
from harness.wait import until

# Terminal escapes, line ends of three kinds, a forged log line, mark-up, a template, text that runs right to left, length.
NASTY = [
    "\x1b[31mred\x1b]0;title\x07",
    "a\nERROR forged line",
    "a\r\nb\u2028c\u0085d",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    '{source} {} %s "quoted" \\',
    "\u202egnp.exe",
    "\u009b31m",
    "x" * 10_000,
]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]")


def config(listener, schema):
    return sources.only("acme", "code").replace(
        "[sources.acme]\n", f'[sources.acme]\nschema = "{schema}"\nheaders = ["*"]\n'
    ) + (
        f'\n[[routes]]\nmatch = {{ type = "acme.*" }}\nto = ["main"]\n'
        f'[backends.main]\ntype = "redis"\nurl = "redis://127.0.0.1:{listener}"\nstream = "s"\n'
    )


@pytest.mark.parametrize("format", ["text", "json"])
def test_ids_types_and_paths_of_senders_are_data_in_logs_figures_and_commands(bridges, senders, tmp_path, format):
    schema = tmp_path / "schema.json"
    schema.write_text('{"properties":{"bad":false}}')
    # Nobody listens there: whatever is said of events that wait is said too.
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    bridge = bridges(config(port, schema), arguments=("--log-format", format, "--log", "debug")).start()
    tail = subprocess.Popen(
        [binary(), "tail", "--admin", bridge.admin_url, "--after", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(tmp_path),
        cwd=tmp_path,
    )
    try:
        for text in NASTY:
            for more in ({}, {"bad": 1, text[:500]: 2}):
                # What JSON lets stand in a text as it is does stand there so.
                body = json.dumps({"type": text, "n": len(more), **more}, ensure_ascii=False).encode()
                one = senders.make("acme", body)
                assert bridge.post(one.path, one.headers, one.body).status == 200, text
                forged = sources.with_header(one.headers, "X-Acme-Signature", "t=1,v1=\\x1b[31m")
                assert bridge.post(one.path, forged, one.body).status == 401
        for path in (b"/%1b%5b31m%0aERROR", b"/<script>", b"/webhooks/acme%00", b"/" + b"x" * 4000, b"/..%2f..%2fetc"):
            answer = raw(bridge.port, b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert answer.status in (400, 404), path
            assert b"script" not in answer.body and b"etc" not in answer.body
        letters = until(
            lambda: len(found := bridge.admin("GET", "/v1/dead-letters").json()["dead_letters"]) == len(NASTY) and found,
            what="the letters",
        )
        for _ in NASTY:
            line = tail.stdout.readline().decode()
            assert not CONTROL.search(line.rstrip("\n")), line[:200]
            assert json.loads(line)["type"].startswith("acme.")
    finally:
        tail.kill()
        tail.communicate()
    for arguments in (["dead", "list"], ["events", "list"], *(["dead", "show", letter["id"]] for letter in letters)):
        shown = run(*arguments, "--admin", bridge.admin_url, cwd=tmp_path)
        assert shown.returncode == 0 and not CONTROL.search(shown.stdout), arguments
    metrics = bridge.admin("GET", "/metrics").body.decode()
    for word in ("red", "forged", "script", "quoted", "gnp", "xxx", "etc"):
        assert not re.search(rf'="[^"]*{word}', metrics), word
    bridge.stop()
    for line in bridge.logs(("log",)).splitlines():
        assert not CONTROL.search(line) and len(line) < 1000, line[:300]
        assert "forged line" not in line and "<script>" not in line
        if format == "json":
            json.loads(line)


def test_nothing_that_a_sender_writes_makes_the_bridge_connect_anywhere(bridges, senders, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"properties":{"$ref":{"type":"string","format":"uri"}}}')
    with socket.create_server(("127.0.0.1", 0)) as trap, socket.create_server(("127.0.0.1", 0)) as broker:
        trap.setblocking(False)
        broker.setblocking(False)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/x"
        bridge = bridges(config(broker.getsockname()[1], schema)).start()
        body = {"type": url, "$ref": url, "$schema": url, "$id": url, "SigningCertURL": url, "SubscribeURL": url, "jku": url}
        headers = [("X-Forwarded-Host", url), ("Referer", url), ("Origin", url), ("Link", f"<{url}>"), ("Expect", "")]
        for source in ("acme", "code"):
            one = senders.make(source, json.dumps(body).encode())
            assert bridge.post(one.path, one.headers + headers[:-1], one.body).status == 200
        target = f"POST {url} HTTP/1.1\r\nHost: {url[7:]}\r\nContent-Length: 0\r\n\r\n".encode()
        assert raw(bridge.port, target).status == 404
        bridge.stop()
        with pytest.raises(BlockingIOError):
            trap.accept()
