"""The dashboard and the alerts: they ask for what pyinit tells, and their tools take them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from entrypoint.core import reasons, view
from entrypoint.logs import schema
from entrypoint.metrics.collect import PHASES
from entrypoint.metrics.counters import RELOAD_RESULTS
from entrypoint.metrics.families import FAMILIES, HISTOGRAM
from tests.k8s import rendered

MONITORING = rendered.K8S / "monitoring"
# What Prometheus adds to each sample.
TARGET = {"job", "instance", "namespace", "pod"}
# Values of labels that come from pyinit and not from the file.
KNOWN = {
    "phase": set(PHASES),
    "reason": set(reasons.RESTARTS),
    "result": set(RELOAD_RESULTS),
    "state": set(view.STATES),
    "stream": {schema.STDOUT, schema.STDERR},
}


def samples() -> dict[str, set[str]]:
    """Every name that a query may ask for, with its labels."""
    found: dict[str, set[str]] = {}
    for family in FAMILIES:
        labels = {*family.labels, *TARGET}
        if family.kind == HISTOGRAM:
            found[f"{family.name}_bucket"] = {*labels, "le"}
            found |= dict.fromkeys((f"{family.name}_count", f"{family.name}_sum"), labels)
        else:
            found[family.sample] = labels
    return found


def rules() -> list[dict]:
    rule = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())
    return [each for group in rule["spec"]["groups"] for each in group["rules"]]


def dashboard() -> dict:
    return json.loads((MONITORING / "dashboard.json").read_text())


def panels() -> list[dict]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


QUERIES = {
    **{rule["alert"]: rule["expr"] for rule in rules()},
    **{f"{p['title']} {t['refId']}": t["expr"] for p in panels() for t in p["targets"]},
    **{v["name"]: v["query"]["query"] for v in dashboard()["templating"]["list"][1:]},
}


def asked(query: str) -> list[tuple[str, str]]:
    """(name, what stands in the braces behind it) of each selector in a query."""
    return re.findall(r"\b((?:pyinit|process)_\w+)(?:\{([^}]*)\})?", query)


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_a_query_asks_for_what_there_is(query: str) -> None:
    known = samples()
    selectors = asked(query)
    assert selectors
    labels = set(TARGET)
    for name, inside in selectors:
        assert name in known
        labels |= known[name]
        for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', inside):
            assert label in known[name], (name, label)
            if label in KNOWN and not value.startswith("$"):
                values = value.split("|") if "~" in operator else [value]
                assert set(values) <= KNOWN[label]
    for grouped in re.findall(r"\b(?:by|without|on|group_left) \(([^)]*)\)", query):
        assert {word.strip() for word in grouped.split(",") if word.strip()} <= labels


def test_what_a_text_shows_of_an_alert_is_there() -> None:
    for rule in rules():
        labels = set().union(*(samples()[name] for name, _ in asked(rule["expr"])))
        answer = json.dumps(rule["annotations"])
        assert set(re.findall(r"\$labels\.(\w+)", answer)) <= labels, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_every_legend_names_a_label_of_its_query() -> None:
    for panel in panels():
        for target in panel["targets"]:
            labels = set().union(*(samples()[name] for name, _ in asked(target["expr"])))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_the_dashboard_is_what_its_generator_says() -> None:
    spec = importlib.util.spec_from_file_location("generate", MONITORING / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (MONITORING / "dashboard.json").read_text() == module.text(), "run `make reference`"


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        position = panel["gridPos"]
        cells = {
            (position["x"] + x, position["y"] + y)
            for x in range(position["w"])
            for y in range(position["h"])
        }
        assert not cells & taken, panel["title"]
        assert position["x"] + position["w"] <= 24
        taken |= cells
    numbers = [panel["id"] for panel in dashboard()["panels"]]
    assert len(numbers) == len(set(numbers))


def test_the_data_source_is_chosen_by_the_person() -> None:
    sources = {json.dumps(panel["datasource"]) for panel in panels()}
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}


def test_it_renders_and_the_dashboard_is_in_it() -> None:
    made = {each["kind"]: each for each in rendered.objects("monitoring")}
    assert made.keys() == {"PrometheusRule", "ConfigMap"}
    assert json.loads(made["ConfigMap"]["data"]["pyinit.json"]) == dashboard()
    assert made["ConfigMap"]["metadata"]["labels"] == {"grafana_dashboard": "1"}


@pytest.mark.node
def test_the_prometheus_operators_schema_takes_the_rules() -> None:
    script = """
        (async () => {
          const { PrometheusRule } = await import(
            "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule");
          const { apiVersion, kind, ...rest } = JSON.parse(require("fs").readFileSync(0));
          new PrometheusRule(rest).validate();
        })().catch((error) => { console.error(error.message); process.exit(1); });
    """
    [rule] = [each for each in rendered.objects("monitoring") if each["kind"] == "PrometheusRule"]
    broken = json.loads(
        json.dumps(rule).replace('"for"', '"fore"').replace('"expr"', '"expression"')
    )
    for given, code in ((rule, 0), (broken, 1)):
        done = subprocess.run(
            ["node", "-e", script],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            cwd=rendered.ROOT / "tests" / "node",
        )
        assert done.returncode == code, done.stderr


def test_promtool_takes_the_rules_and_they_fire(tmp_path: Path) -> None:
    promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if not promtool:
        pytest.skip("no promtool here (Debian: prometheus; or set PROMTOOL): rules not run")
    rule = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    shutil.copy(MONITORING / "rules_test.yaml", tmp_path)
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "rules_test.yaml"]):
        done = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
