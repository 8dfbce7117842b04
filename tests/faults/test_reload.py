"""Reload: what changes, what stays, and that no sender notices; each time with the built program."""

import json
import os
import random
import signal
import socket
import ssl
import time

import pytest
from harness import sources
from harness.brokers import redis_backend, stream_texts
from harness.certificates import Authority
from harness.http import Client
from harness.load import Load, check_books
from harness.wait import stays, until


def long(*values):
    return pytest.param(*values, marks=pytest.mark.long)


def configuration(bridge):
    return bridge.admin("GET", "/v1/status").json()["configuration"]


def attempts(bridge):
    return bridge.metric("hookferry_config_reloads_total")


def reload(bridge, config=None):
    """Writes a configuration, sends SIGHUP and waits for what becomes of it; whether it is in force."""
    before = attempts(bridge)
    if config is not None:
        bridge.configure(config)
    bridge.signal(signal.SIGHUP)
    until(lambda: attempts(bridge) > before, 10, "the reload")
    return configuration(bridge)["last_reload"]["successful"]


def waits_for_reload(bridge, change):
    """Makes a change and waits until the bridge has taken it up by itself."""
    generation = configuration(bridge)["generation"]
    change()
    return until(lambda: configuration(bridge)["generation"] > generation, 10, "a reload by itself")


def extra(name, secret="env:ACME_SECRET", more=""):
    return sources.only("acme").replace("acme", name).replace("env:" + name.upper(), "env:ACME").replace(
        '"env:ACME_SECRET"', f'"{secret}"'
    ).replace(f"x-{name}", "x-acme").replace(f"[sources.{name}.verify]", f"{more}\n[sources.{name}.verify]")


@pytest.mark.parametrize("reloads", [20, long(100)])
def test_no_sender_notices_reloads_under_load(bridges, oracles, own_redis, tmp_path, reloads):
    """Sources, limits and the certificate change; every fifth configuration does not check."""
    authority = Authority(tmp_path / "tls")
    cert, key = tmp_path / "tls" / "cert.pem", tmp_path / "tls" / "key.pem"
    authority.sign(cert, key)
    context = ssl.create_default_context(cafile=authority.file)
    backend = redis_backend(own_redis) + f'\n[server.tls]\ncert = "{cert}"\nkey = "{key}"\n'
    bridge = bridges(sources.only("acme") + backend).start()
    load = Load(bridge, oracles, senders=6, tls=context).start()
    shown = {serial(bridge, context)}
    for number in range(reloads):
        bridge.sections["server"] = f'max_body = "{100 + number}KiB"'
        if number % 5 == 4:
            assert not reload(bridge, "[sources.acme")
        else:
            # Both before either is seen: a pair that does not fit would be refused, as it must.
            authority.sign(tmp_path / "tls" / "cert.new", tmp_path / "tls" / "key.new")
            bridge.configure("[sources.acme")
            os.replace(tmp_path / "tls" / "key.new", key)
            os.replace(tmp_path / "tls" / "cert.new", cert)
            # The watch may be at the one before.
            assert any(reload(bridge, sources.only("acme") + extra(f"new{number}") + backend) for _ in range(3))
            one = Client(bridge.port, tls=context)
            assert one.request("POST", f"/webhooks/new{number}", [], b"{}").status == 401, "the new source is there"
            one.close()
            shown.add(serial(bridge, context))
        load.reach(len(load.acknowledged) + 10)
    load.stop()
    assert len(shown) == 1 + reloads - reloads // 5, "each certificate was shown"
    load.check_unnoticed()
    bridge.wait_drained("main")
    check_books(load, stream_texts(own_redis))
    assert configuration(bridge)["generation"] >= 1 + reloads - reloads // 5
    assert bridge.metric("hookferry_config_reloads_total", result="failure") >= reloads // 5


def serial(bridge, context):
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            return sock.getpeercert()["serialNumber"]


def test_kills_during_reloads_lose_nothing(bridges, oracles, own_redis):
    backend = redis_backend(own_redis)
    bridge = bridges(sources.only("acme") + backend).start()
    load = Load(bridge, oracles, senders=4).start()
    dice = random.Random(7)
    for number in range(6):
        load.reach(len(load.acknowledged) + 30)
        bridge.configure(sources.only("acme") + extra(f"new{number}") + backend)
        bridge.signal(signal.SIGHUP)
        time.sleep(dice.random() * 0.02)  # the moment of the kill is the subject
        bridge.kill()
        bridge.start()
    load.reach(len(load.acknowledged) + 30)
    load.stop()
    bridge.wait_drained("main")
    check_books(load, stream_texts(own_redis))


def test_a_configuration_that_does_not_check_leaves_the_old_one_in_force(bridges, senders, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(sources.SECRETS["acme"][1])
    good = extra("acme", f"file:{secret}")
    bridge = bridges(good).start()
    empty, gone = tmp_path / "empty", tmp_path / "gone"
    empty.write_text("")
    bad = {
        "[sources.acme": "hookferry.toml",
        good + "\nno_such_key = 1\n": "no_such_key",
        extra("acme", f"file:{empty}"): "is empty",
        extra("acme", f"file:{gone}"): "cannot read",
        extra("acme", "env:NO_SUCH_NAME"): "NO_SUCH_NAME",
        good + '\n[[routes]]\nmatch = {}\nto = ["nowhere"]\n': "nowhere",
        good.replace("[sources.acme]", '[sources.acme]\nmax_body = "lots"'): "max_body",
    }
    for config, said in bad.items():
        assert not reload(bridge, config), config
        last = configuration(bridge)
        assert last["generation"] == 1
        assert said in " ".join(last["last_reload"]["errors"]), last
        assert said in bridge.log()
        assert bridge.metric("hookferry_config_last_reload_successful") == 0
        one = senders.make("acme")
        assert bridge.post(one.path, one.headers, one.body).status == 200
    os.remove(bridge.config_path)
    assert not reload(bridge)
    assert reload(bridge, good)
    assert bridge.metric("hookferry_config_last_reload_successful") == 1
    assert abs(bridge.metric("hookferry_config_last_reload_timestamp_seconds") - time.time()) < 30
    assert configuration(bridge)["last_reload"]["errors"] == []


def test_a_file_that_was_only_emptied_so_far_takes_no_source_away(bridges, senders):
    bridge = bridges(sources.only("acme")).start()
    whole = bridge.config_path.read_text()
    for text in ["", "\n \n"]:
        bridge.config_path.write_text(text)
        assert not reload(bridge), "an empty file is in force"
        assert "is empty: is it still being written?" in configuration(bridge)["last_reload"]["errors"][0]
        one = senders.make("acme")
        assert bridge.post(one.path, one.headers, one.body).status == 200
    bridge.config_path.write_text(whole)
    until(lambda: configuration(bridge)["last_reload"]["successful"], 10, "the whole file")


def test_a_file_that_was_always_empty_is_in_the_way_of_no_reload(bridges, senders, tmp_path):
    over = tmp_path / "over.toml"
    over.write_text("")
    bridge = bridges(sources.only("acme"), arguments=["--config", over]).start()
    bridge.configure(sources.only("acme", "code"))
    assert reload(bridge), configuration(bridge)
    one = senders.make("code")
    assert bridge.post(one.path, one.headers, one.body).status == 200


def test_sources_come_change_and_go_and_their_counters_stay(bridges, senders):
    bridge = bridges(sources.only("acme", "code")).start()
    one = senders.make("acme")
    assert bridge.post(one.path, one.headers, one.body).status == 200
    assert reload(bridge, sources.only("acme").replace("[sources.acme]", "[sources.acme]\nsuccess_status = 202"))
    two = senders.make("acme")
    assert bridge.post(two.path, two.headers, two.body).status == 202
    assert bridge.metric("hookferry_events_total", source="acme") == 2
    assert bridge.post(one.path, one.headers, one.body).json()["status"] == "duplicate"
    code = senders.make("code")
    gone = bridge.post(code.path, code.headers, code.body)
    assert (gone.status, gone.problem) == (404, "unknown_source")
    assert [source["name"] for source in bridge.admin("GET", "/v1/sources").json()["sources"]] == ["acme"]
    assert reload(bridge, sources.only("acme", "code"))
    assert bridge.post(code.path, code.headers, code.body).status == 200


def test_limits_and_routes_are_taken_up(bridges, senders, redis, stream, to_redis):
    bridge = bridges(sources.only("acme") + to_redis).start()
    big = senders.make("acme", body=json.dumps({"type": "x", "padding": "x" * 5000}).encode(), type="x")
    assert bridge.post(big.path, big.headers, big.body).status == 200
    bridge.wait_drained("main")
    bridge.sections["server"] = 'max_body = "1KiB"'
    assert reload(bridge, sources.only("acme") + to_redis + '\n[[routes]]\nmatch = { type = "acme.y" }\nto = ["main"]\n')
    assert bridge.post(big.path, big.headers, big.body).status == 413
    for kind in ("x", "y"):
        one = senders.make("acme", type=kind)
        assert bridge.post(one.path, one.headers, one.body).status == 200
    bridge.wait_drained("main")
    assert [json.loads(text)["type"] for text in stream_texts(redis, stream)] == ["acme.x", "acme.y"]
    assert bridge.metric("hookferry_unrouted_events_total") == 1


def test_every_limit_that_needs_no_restart_is_taken_up(bridges, senders):
    """What `app::reload` names as needing none, seen from outside; the certificate and the token have tests of their own."""
    bridge = bridges(sources.only("acme")).start()
    one = senders.make("acme")

    def client():
        again = senders.make("acme")
        assert bridge.post(again.path, [*again.headers, ("x-forwarded-for", "192.0.2.7")], again.body).status == 200
        return bridge.page(order="newest", limit=1)["events"][0]["clientip"]

    def stalled():
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", bridge.port), timeout=20) as sock:
            sock.sendall(b"POST /webhooks/acme HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
            assert sock.recv(100).startswith(b"HTTP/1.1 408 ")
        return time.monotonic() - begun

    def by_name():
        return bridge.admin("GET", "/v1/status", [("host", "ferry.example")]).status

    assert bridge.post(one.path, one.headers, one.body).json()["status"] == "accepted"
    assert bridge.post(one.path, one.headers, one.body).json()["status"] == "duplicate"
    assert client() == "127.0.0.1" and by_name() == 403
    bridge.sections["server"] = 'body_timeout = "1s"\ntrusted_proxies = ["127.0.0.0/8"]\n'
    bridge.sections["admin"] = 'hosts = ["ferry.example"]'
    assert reload(bridge, sources.only("acme") + '\n[dedup]\nwindow = "0s"\n')
    assert configuration(bridge)["needs_restart"] == ["server.body_timeout (for headers)"]
    assert bridge.post(one.path, one.headers, one.body).json()["status"] == "accepted", "dedup.window"
    assert client() == "192.0.2.7", "server.trusted_proxies"
    assert by_name() == 200, "admin.hosts"
    assert stalled() < 5, "server.body_timeout"
    for option, status in {
        'rate_limit = "1/h"': 429, 'allow_ips = ["10.0.0.0/8"]': 403, 'max_body = "1B"': 413, "success_status = 202": 202,
        'tolerance = "1s"': 401,
    }.items():  # fmt: skip
        where = "[sources.acme.verify]" if option.startswith("tolerance") else "[sources.acme]"
        config = sources.only("acme").replace('tolerance = "5m"', "")
        assert reload(bridge, config.replace(where, f"{where}\n{option}")), option
        late = senders.make("acme", timestamp=int(time.time()) - 60) if status == 401 else senders.make("acme")
        if status == 429:
            assert bridge.post(late.path, late.headers, late.body).status == 200
        # A proxy that is believed may be anybody: the limit is of the source.
        assert bridge.post(late.path, late.headers, late.body).status == status, option


def test_a_secret_is_rotated_by_its_file_alone(bridges, senders, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("canary-first-secret")
    bridge = bridges(extra("acme", f"file:{secret}")).start()

    def status(key):
        one = senders.make("acme", secret=key)
        return bridge.post(one.path, one.headers, one.body).status

    assert (status("canary-first-secret"), status("canary-second-secret")) == (200, 401)
    waits_for_reload(bridge, lambda: secret.write_text("canary-second-secret\n"))
    assert (status("canary-first-secret"), status("canary-second-secret")) == (401, 200)
    secret.write_text("")
    until(lambda: attempts(bridge) == 2, 10, "the refused reload")
    assert status("canary-second-secret") == 200
    assert "canary-" not in bridge.logs()


def test_the_swap_of_a_kubernetes_volume_is_taken_up_and_rewriting_the_same_is_not(bridges, tmp_path):
    bridge = bridges(sources.only("acme"))
    volume = tmp_path / "volume"
    for version, names in {"..1": ["acme"], "..2": ["acme", "code"]}.items():
        (volume / version).mkdir(parents=True)
        bridge.configure(sources.only(*names))
        (volume / version / "hookferry.toml").write_text(bridge.config_path.read_text())
    (volume / "..data").symlink_to("..1")
    (volume / "hookferry.toml").symlink_to("..data/hookferry.toml")
    bridge.config_path = volume / "hookferry.toml"
    bridge.start()

    def swap():
        (volume / "..data_tmp").symlink_to("..2")
        os.rename(volume / "..data_tmp", volume / "..data")

    waits_for_reload(bridge, swap)
    assert bridge.post("/webhooks/code", [], b"{}").status == 401
    file = volume / "..2" / "hookferry.toml"
    file.write_text(file.read_text())
    (volume / "other").write_text("nothing of ours")
    stays(lambda: attempts(bridge) == 1, 1.5, "no reload without a change")


def test_what_needs_a_restart_is_named_and_a_new_backend_gets_its_events_then(bridges, senders, own_redis):
    bridge = bridges(sources.only("acme")).start()
    bridge.sections["server"] = "workers = 1"
    bridge.sections["journal"] = 'retention = "2h"'
    assert reload(bridge, sources.only("acme") + redis_backend(own_redis))
    needs = configuration(bridge)["needs_restart"]
    assert needs == ["server.workers", "journal.retention", "backends.main"]
    for key in needs:
        assert f"{key} has changed" in bridge.log()
    one = senders.make("acme")
    assert bridge.post(one.path, one.headers, one.body).status == 200
    assert bridge.stop() == 0
    bridge.start()
    bridge.wait_drained("main")
    assert [json.loads(text)["id"] for text in stream_texts(own_redis)] == [one.id]
    assert configuration(bridge)["needs_restart"] == []


def test_a_backend_that_a_reload_takes_away_or_renames_gets_what_waits_for_it(bridges, senders, own_redis):
    there = redis_backend(own_redis)
    bridge = bridges(sources.only("acme") + there).start()
    sent = []

    def post():
        one = senders.make("acme")
        assert bridge.post(one.path, one.headers, one.body).status == 200
        sent.append(one.id)

    own_redis.stop()
    post()
    # What is in its hands already is not the subject: these are read later.
    until(lambda: bridge.metric("hookferry_backend_up", backend="main") == 0, what="the outage to be seen")
    for _ in range(5):
        post()
    assert reload(bridge, sources.only("acme"))
    assert configuration(bridge)["needs_restart"] == ["backends.main"]
    post()
    assert reload(bridge, sources.only("acme") + there.replace("backends.main", "backends.other"))
    post()
    own_redis.start()
    bridge.wait_drained("main")
    assert [json.loads(text)["id"] for text in stream_texts(own_redis)] == sent
    assert reload(bridge, sources.only("acme") + there)
    post()
    bridge.wait_drained("main")
    assert [json.loads(text)["id"] for text in stream_texts(own_redis)] == sent


def test_events_of_a_source_that_a_reload_takes_away_go_to_its_own_backends(bridges, senders, redis, own_redis, stream):
    backends = redis_backend(own_redis) + redis_backend(redis, stream).replace("backends.main", "backends.other")
    pinned = sources.only("acme").replace("[sources.acme]", '[sources.acme]\nbackends = ["main"]')
    bridge = bridges(pinned + sources.only("code") + backends).start()
    own_redis.stop()
    sent = []
    for name in ["acme"] * 5 + ["code"]:
        one = senders.make(name)
        assert bridge.post(one.path, one.headers, one.body).status == 200
        sent.append(one.id)
        if len(sent) == 1:
            until(lambda: bridge.metric("hookferry_backend_up", backend="main") == 0, what="the outage to be seen")
    # Another backend's lane would read them behind the reload too.
    bridge.wait_drained("other")
    routes = '\n[[routes]]\nmatch = { source = "code" }\nto = ["main", "other"]\n'
    assert reload(bridge, sources.only("code") + backends + routes)
    own_redis.start()
    bridge.wait_drained("main")
    assert [json.loads(text)["id"] for text in stream_texts(own_redis)] == sent
    assert [json.loads(text)["id"] for text in stream_texts(redis, stream)] == sent[-1:]


def test_the_admin_token_is_rotated(bridges):
    config = sources.only("acme")
    bridge = bridges(config, admin='token = "literal:canary-old-token"', env={"NEW": "canary-new-token"})
    bridge.token = "canary-old-token"
    bridge.start()
    bridge.sections["admin"] = 'token = "env:NEW"'
    bridge.configure(config)
    until(lambda: bridge.admin("GET", "/v1/status").status == 401, 10, "the old token is refused")
    bridge.token = "canary-new-token"
    assert bridge.admin("GET", "/v1/status").status == 200
