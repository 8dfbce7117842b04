"""An operator's own senders, without code: a folder of provider files, checked, listed, sent as, followed while it runs."""

import hashlib
import hmac
import json

import pytest
from harness.bridge import run
from harness.wait import until

SECRET = "literal:acme-secret"
FILE = """
title = "Acme"
docs = "https://acme.example/webhooks"
setup = "Acme > Settings > Webhooks."
methods = ["POST", "GET"]
success_status = 202

[verify]
kind = "hmac"
encoding = "hex"
signature = { header = "x-acme", prefix = "v1=" }
message = "{header:x-acme-id}.{body}"

[event]
id = "header:x-acme-id"
type = "body:/type"
time = "body:/at"
subject = "body:/order/id"

[[handshake]]
signed = false
when = { method = "GET", query = { challenge = "*" } }
reply = { status = 200, content_type = "text/plain", body = "{query:challenge}" }

[sample]
type = "order.paid"
body = '{"type":"","at":0,"order":{"id":"7"}}'

[[example]]
secret = "s3cret"
now = 0
headers = { x-acme = "v1=SIGNATURE", x-acme-id = "e1" }
body = '{"type":"order.paid"}'
expect = { id = "e1", type = "order.paid" }
""".replace("SIGNATURE", hmac.new(b"s3cret", b'e1.{"type":"order.paid"}', hashlib.sha256).hexdigest())


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "providers"
    folder.mkdir()
    (folder / "acme.toml").write_text(FILE)
    return folder


def section(folder, provider="acme"):
    source = f'[sources.shop]\nprovider = "{provider}"\nsecrets = ["{SECRET}"]\n'
    return f'[catalogue]\ndir = "{folder}"\n{source}'


def test_a_sender_of_the_folder_is_listed_checked_and_sent_as(bridges, folder, tmp_path):
    bridge = bridges(section(folder)).start()
    config = ("--config", str(bridge.config_path))
    listed = run("providers", *config, cwd=tmp_path)
    assert any(line.split()[:3] == ["acme", "Acme", "hmac-sha256"] for line in listed.stdout.splitlines())
    assert not any(line.startswith("acme ") for line in run("providers", cwd=tmp_path).stdout.splitlines())
    shown = run("providers", "acme", *config, cwd=tmp_path).stdout
    assert str(folder / "acme.toml") in shown and "{header:x-acme-id}.{body}" in shown
    checked = run("check", *config, cwd=tmp_path)
    assert (checked.returncode, "its example holds" in checked.stdout) == (0, True), checked
    sent = run("send", "shop", "--json", *config, cwd=tmp_path)
    answer = json.loads(sent.stdout)
    assert answer["status"] == 202, sent
    assert bridge.request("GET", "/webhooks/shop?challenge=abc").body == b"abc"
    (event,) = bridge.events()
    assert (event["type"], event["subject"], event["provider"]) == ("acme.order.paid", "7", "acme")
    refused = run("send", "shop", "--fault", "tampered", "--json", *config, cwd=tmp_path)
    assert json.loads(refused.stdout)["status"] == 401


def test_check_fails_with_the_example_that_does_not_hold_and_why(folder, tmp_path):
    (tmp_path / "a.toml").write_text(section(folder))
    (folder / "acme.toml").write_text(FILE.replace('secret = "s3cret"', 'secret = "another"'))
    for command in (["check"], ["providers"], ["serve"]):
        done = run(*command, "--config", "a.toml", cwd=tmp_path)
        assert done.returncode == 2, done
        assert done.stderr.startswith(f"{folder / 'acme.toml'}:29: example[0]: it is refused: signature does not match"), done


def test_a_sender_that_comes_changes_or_goes_is_taken_up_while_it_runs(bridges, folder):
    bridge = bridges(section(folder)).start()

    def sent(number, key="x-acme"):
        body = b'{"type":"order.paid"}'
        tag = hmac.new(b"acme-secret", f"e{number}.".encode() + body, hashlib.sha256).hexdigest()
        return bridge.post("/webhooks/shop", [(key, f"v1={tag}"), ("x-acme-id", f"e{number}")], body).status

    def reload(change, result="success"):
        before = bridge.metric("hookferry_config_reloads_total", result=result)
        change()
        until(lambda: bridge.metric("hookferry_config_reloads_total", result=result) > before, what=f"the reload: {result}")

    assert sent(1) == 202
    reload(lambda: (folder / "acme.toml").write_text(FILE.replace('x-acme"', 'x-shop"').replace("x-acme =", "x-shop =")))
    assert (sent(2), sent(3, "x-shop")) == (401, 202)
    reload(lambda: (folder / "acme.toml").write_text(FILE.replace('secret = "s3cret"', 'secret = "no"')), "failure")
    assert sent(4, "x-shop") == 202, "what was in force stays"
    reload(lambda: (folder / "acme.toml").write_text(FILE))
    assert sent(5) == 202
    reload(lambda: (folder / "other.toml").write_text(FILE))
    reload(lambda: bridge.configure(section(folder, "other")))
    assert sent(6) == 202
    assert bridge.events()[-1]["type"] == "other.order.paid"
