"""What is scraped, read by a real Prometheus with our alerts, and asked what the dashboard asks."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from harness import ports, sources
from harness.processes import dies_with_parent
from harness.wait import until
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from test_files import ALERTS, DASHBOARD

TOKEN = "correct-horse-battery"
# What the contract names, and what an operator of any process expects.
NAMES = {
    "hookferry_requests": {"source", "outcome"},
    "hookferry_ack_seconds": {"source"},
    "hookferry_events": {"source"},
    "hookferry_published": {"backend"},
    "hookferry_publish_failures": {"backend", "reason"},
    "hookferry_dead_letters": {"backend"},
    "hookferry_backlog_events": {"backend"},
    "hookferry_backlog_age_seconds": {"backend"},
    "hookferry_backend_up": {"backend"},
    "hookferry_publish_seconds": {"backend"},
    "hookferry_journal_bytes": set(),
    "hookferry_journal_fsync_seconds": set(),
    "hookferry_journal_open": set(),
    "hookferry_journal_fsync_failures": set(),
    "hookferry_build_info": {"version"},
    "process_start_time_seconds": set(),
    "process_cpu_seconds": set(),
    "process_threads": set(),
    "process_resident_memory_bytes": set(),
    "process_virtual_memory_bytes": set(),
    "process_open_fds": set(),
    "process_max_fds": set(),
}


@pytest.fixture
def bridge(bridges, senders, to_redis):
    lost = '\n[backends.lost]\ntype = "redis"\nurl = "redis://127.0.0.1:1"\nstream = "x"\n'
    bridge = bridges(sources.only("std", "acme") + to_redis + lost, admin=f'token = "literal:{TOKEN}"')
    bridge.token = TOKEN
    bridge.start()
    send(bridge, senders)
    bridge.wait_drained("main")
    until(lambda: bridge.metric("hookferry_publish_failures_total", backend="lost") > 0, 20, "a failed try")
    return bridge


def send(bridge, senders):
    for name in ("std", "acme"):
        one = senders.make(name)
        assert bridge.post(one.path, one.headers, one.body).status == 200
        assert bridge.post(one.path, one.headers, one.body).status == 200
        assert bridge.post(one.path, one.headers, one.body + b" ").status == 401


def families(bridge):
    answer = bridge.admin("GET", "/metrics")
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return {family.name: family for family in text_string_to_metric_families(answer.body.decode())}


def test_what_is_scraped_is_openmetrics_and_has_every_name_with_its_labels(bridge):
    found = families(bridge)
    for name, labels in NAMES.items():
        assert name in found, name
        family = found[name]
        assert family.documentation and family.samples, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == labels, sample
    value = {sample.name: sample.value for family in found.values() for sample in family.samples if not sample.labels}
    assert 1e6 < value["process_resident_memory_bytes"] < 1e10
    assert 10 < value["process_open_fds"] < value["process_max_fds"]
    assert value["process_cpu_seconds_total"] > 0
    pid = bridge.process.pid
    threads = int(re.search(r"Threads:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
    assert abs(value["process_threads"] - threads) <= 2


def test_senders_can_make_no_series(bridge, senders):
    """Whatever comes, from anywhere, the series are those of the configuration."""

    def series():
        return sum(len(family.samples) for family in families(bridge).values())

    def nonsense(number):
        bridge.post(f"/webhooks/{number}", [("x-forwarded-for", f"10.0.0.{number}"), ("x-acme-id", str(number))], b"{}")
        bridge.request(f"M{number}", "/webhooks/acme")
        one = senders.make("acme", type=f"type-{number}")
        assert bridge.post(one.path, [*one.headers, ("user-agent", str(number))], one.body).status == 200

    nonsense(0)
    before = series()
    for number in range(1, 60):
        nonsense(number)
    assert series() == before


class Prometheus:
    """A private server, on loopback, that scrapes one bridge every second."""

    def __init__(self, directory, target):
        self.port = ports.free()
        directory.mkdir()
        config = directory / "prometheus.yml"
        rules = directory / "alerts.yml"
        # As it is, but judged every second.
        rules.write_text(ALERTS.read_text())
        config.write_text(
            "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\n"
            f"rule_files: [{rules}]\n"
            "scrape_configs:\n"
            "  - job_name: hookferry\n"
            f"    authorization: {{ credentials: {TOKEN} }}\n"
            f"    static_configs: [{{ targets: ['{target}'] }}]\n"
        )
        subprocess.run(["promtool", "check", "config", config], check=True, capture_output=True, timeout=30)
        self.log = directory / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}",
                 f"--web.listen-address=127.0.0.1:{self.port}"],
                stdout=log, stderr=log, preexec_fn=dies_with_parent,
            )  # fmt: skip

    def get(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def target(self):
        """What it knows of the bridge; `None` before it knows of it."""
        try:
            targets = self.get("targets")["activeTargets"]
        except OSError:
            return None
        return targets[0] if targets else None

    def close(self):
        self.process.terminate()
        self.process.wait(20)


def test_a_prometheus_scrapes_judges_and_answers_what_the_dashboard_asks(bridge, senders, tmp_path):
    server = Prometheus(tmp_path / "prometheus", f"127.0.0.1:{bridge.admin_port}")
    try:
        until(lambda: (server.target() or {}).get("health") == "up", 30, "a scrape")
        for _ in range(3):
            send(bridge, senders)
            scraped = server.target()["lastScrape"]
            until(lambda scraped=scraped: server.target()["lastScrape"] > scraped, 10, "the next scrape")
        assert server.target()["lastError"] == ""
        until(lambda: rules(server) and all(rule["health"] == "ok" for rule in rules(server)), 15, "judged rules")
        down = {rule["name"]: rule["state"] for rule in rules(server)}
        assert down["HookferryBackendDown"] == "pending", "`lost` is down, for less than five minutes"
        assert {name for name, state in down.items() if state == "firing"} == set(), down
        empty = []
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"].replace("$__rate_interval", "10s").replace("$instance", ".*")
                if not server.get("query", query=expression)["result"]:
                    empty.append(panel["title"])
        # Only over TLS is there a certificate.
        assert empty == ["Days until certificates end"]
    finally:
        server.close()


def rules(server):
    return [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
