"""The files of `deploy/`, `docker-compose.yml` and the scripts, read by the programs that will read them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from harness.bridge import REPOSITORY, binary, run

DEPLOY = REPOSITORY / "deploy"
VENV = Path(sys.executable).parent
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "hookferry.json"


def said(*command, cwd=REPOSITORY):
    """What a command says, which must be content."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


# Containers


def test_the_compose_file_is_one_and_its_parts_are_there():
    text = said(VENV / "docker-compose", "-f", "docker-compose.yml", "config", "--format", "json")
    services = json.loads(text)["services"]
    assert {"hookferry", "redis", "rabbitmq", "sqs"} <= services.keys()
    ours = services["hookferry"]
    assert (Path(ours["build"]["context"]) / ours["build"]["dockerfile"]).is_file()
    for service in services.values():
        for volume in service.get("volumes", []):
            assert volume["type"] == "volume" or Path(volume["source"]).is_file(), volume
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", f"{port} is open to the network"
    config = tuple(volume["target"] for volume in ours["volumes"] if volume["type"] == "bind")
    assert ours["command"] == ["serve", "--config", *config]


def test_the_example_for_compose_checks(tmp_path):
    env = {"DEMO_SECRET": "whsec_aG9va2ZlcnJ5LWNvbXBvc2UtZGVtby1zZWNyZXQ=", "HOOKFERRY_ADMIN_TOKEN": "compose-admin-token"}
    done = run("check", "--config", str(REPOSITORY / "config" / "compose.toml"), cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr


def test_the_dockerfile_is_without_fault_and_copies_what_the_build_reads():
    assert said(VENV / "hadolint", DEPLOY / "Dockerfile") == ""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    roots = [REPOSITORY / name for line in copied for name in line.split()]
    assert all(root.exists() for root in roots), roots
    ignored = (REPOSITORY / ".dockerignore").read_text()
    assert all(f"!{root.name}" in ignored for root in roots), "the context leaves out what is copied"
    read = re.compile(r'include_(?:str|bytes)!\("([^"]+)"\)')
    for source in (REPOSITORY / "src").rglob("*.rs"):
        code = source.read_text().split("#[cfg(test)]")[0]
        for name in read.findall(code):
            path = (source.parent / name).resolve()
            assert any(path.is_relative_to(root) for root in roots), f"{source} reads {path}, which is not copied"


# Kubernetes


def manifests():
    for name in ("service.yaml", "statefulset.yaml"):
        yield from yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text())


@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_the_manifests_meet_the_schemas_of_kubernetes(version):
    for manifest in manifests():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_manifests_fit_one_another_and_their_configuration_checks(tmp_path):
    directory = DEPLOY / "kubernetes"
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    generator = kustomization["configMapGenerator"][0]
    for name in [*kustomization["resources"], *generator["files"]]:
        assert (directory / name).is_file(), name
    found = {(one["kind"], one["metadata"]["name"]): one for one in manifests()}
    state = found["StatefulSet", "hookferry"]["spec"]
    pod = state["template"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for (kind, _), one in found.items():
        if kind == "Service":
            assert one["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
            assert all(port["targetPort"] in ports for port in one["spec"]["ports"])
    assert ("Service", state["serviceName"]) in found
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    claims = {claim["metadata"]["name"] for claim in state["volumeClaimTemplates"]}
    assert mounts.keys() == volumes.keys() | claims
    assert volumes["config"]["configMap"]["name"] == generator["name"]
    text = (directory / "hookferry.yaml").read_text()
    config = yaml.safe_load(text)
    assert [int(config[section]["listen"].rsplit(":", 1)[1]) for section in ("server", "admin")] == [ports["http"], ports["admin"]]
    assert Path(config["journal"]["dir"]).is_relative_to(mounts["journal"])
    grace = int(config["server"]["shutdown_grace"].removesuffix("s"))
    assert pod["spec"]["terminationGracePeriodSeconds"] > grace
    for secret in ("admin-token", "github"):
        (tmp_path / secret).write_text("a-secret")
    assert f"file:{mounts['secrets']}/" in text
    (tmp_path / "hookferry.yaml").write_text(text.replace(mounts["secrets"], str(tmp_path)))
    done = run("check", "--config", "hookferry.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert container["args"][:3] == ["serve", "--config", f"{mounts['config']}/{generator['files'][0]}"]
    assert run(*container["args"][3:], "--help", cwd=tmp_path).returncode == 0


# systemd


def test_the_unit_is_one_and_leaves_the_service_little(tmp_path):
    text = (DEPLOY / "systemd" / "hookferry.service").read_text()
    unit = tmp_path / "hookferry.service"
    unit.write_text(text.replace("/usr/local/bin/hookferry", binary()))
    assert said("systemd-analyze", "verify", "--man=no", unit).strip() == ""
    # The measure of systemd itself, from 0 to 10 (here times ten).
    said("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit)
    assert re.search(r"^Type=notify$", text, re.M) and re.search(r"^WatchdogSec=", text, re.M)


# Scripts


def test_shellcheck_finds_nothing_in_the_scripts():
    files = [REPOSITORY / ".ci" / "run", *(REPOSITORY / "scripts").iterdir()]
    shell = [path for path in files if path.read_text().startswith(("#!/usr/bin/env bash", "#!/bin/sh"))]
    assert len(shell) >= 3
    said("shellcheck", "--external-sources", *shell)


# Prometheus and Grafana


def test_each_alert_fires_when_it_must_and_not_when_all_is_well():
    said("promtool", "check", "rules", "--lint=all", "--lint-fatal", ALERTS)
    tests = Path(__file__).with_name("alerts_test.yml")
    said("promtool", "test", "rules", tests)
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    cases = [case for test in yaml.safe_load(tests.read_text())["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts, "each fires once"
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts, "each is quiet once"
    # A runbook is found by the anchor that its heading makes.
    anchors = {line[3:].lower() for line in (REPOSITORY / "docs" / "runbooks.md").read_text().splitlines() if line.startswith("## ")}
    for group in groups:
        for rule in group["rules"]:
            assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{rule['alert'].lower()}"
            assert rule["alert"].lower() in anchors


def test_the_dashboard_is_whole():
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["uid"] and dashboard["title"] and dashboard["schemaVersion"] >= 36
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells
        if panel["type"] != "row":
            assert panel["title"] and panel["targets"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-zA-Z_]+)", DASHBOARD.read_text())) - {"__rate_interval", "__all"}
    assert used <= variables, "a variable that nothing sets"
