"""`hookferry send` for every provider of the catalogue: one bridge with all of them, each fault its refusal."""

import json

import pytest

from harness.bridge import Bridge, run
from harness.catalogue import providers

CATALOGUE = providers()
SIGNED = [name for name, provider in CATALOGUE.items() if not provider.signs_privately]


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    config = "".join(provider.source() for provider in CATALOGUE.values())
    bridge = Bridge(tmp_path_factory.mktemp("all"), config)
    bridge.start()
    yield bridge
    bridge.close()


@pytest.fixture
def send(bridge, tmp_path):
    """Runs `hookferry send` as the provider `name`; gives its answers, and the process."""

    def send(name, *faults):
        (tmp_path / "send.toml").write_text(CATALOGUE[name].source())
        arguments = [word for fault in faults for word in ("--fault", fault)]
        url = f"http://127.0.0.1:{bridge.port}"
        done = run("send", name, *arguments, "--json", "--config", "send.toml", "--url", url, cwd=tmp_path)
        return [json.loads(line) for line in done.stdout.splitlines()], done

    return send


@pytest.mark.parametrize("name", SIGNED)
def test_what_send_signs_is_accepted_and_each_fault_is_refused(name, send):
    provider = CATALOGUE[name]
    event = provider.contract.get("event", {})
    repeats = event.get("repeats", False) and "id" not in event
    answers, done = send(name, *([] if repeats else ["duplicate"]))
    wanted = ["accepted", "duplicate"][: 2 - repeats]
    assert [answer["status"] for answer in answers] == [provider.success_status] * len(wanted), done
    assert done.returncode == 0, done
    if "success_body" not in provider.contract:
        assert [answer["answer"]["status"] for answer in answers] == wanted
    if repeats:
        answers, done = send(name, "duplicate")
        assert (answers, done.returncode) == ([], 2), done
        assert "this source's provider" in done.stderr
    for fault, code in provider.faults().items():
        answers, done = send(name, fault)
        said = [(answer["status"], answer["answer"]["type"].split(":")[-1]) for answer in answers]
        assert said == [(401, code)], (fault, done)
        assert done.returncode == 0, (fault, done)
    answers, done = send(name, "oversized")
    assert [answer["status"] for answer in answers] == [413], done
    for fault in {"tampered", "stale"} - set(provider.faults()):
        answers, done = send(name, fault)
        assert (answers, done.returncode) == ([], 2), done
        assert "this source's provider" in done.stderr


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - set(SIGNED)))
def test_where_only_the_sender_has_the_key_send_says_so(name, send):
    answers, done = send(name)
    assert (answers, done.returncode) == ([], 1), done
    assert "private key" in done.stderr


def test_an_experimental_provider_is_told_at_start(bridge):
    said = bridge.logs()
    told = {name for name in CATALOGUE if f"source {name}: `{name}` is experimental" in said}
    assert told == {name for name, provider in CATALOGUE.items() if provider.contract.get("experimental")}
