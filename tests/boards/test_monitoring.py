"""The Grafana dashboard and the alert rules use metrics that exist, with the labels that they have; promtool agrees."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the metrics of the hub need rkface[web]")
pytest.importorskip("psycopg", reason="the metrics of the hub need rkface[hub]")
import yaml

from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.metrics import write_metrics_text
from rkface.runtime.hub.fleet import BoardState
from rkface.runtime.hub_console.metrics import board_metrics, read_metrics

FOLDER = Path(__file__).resolve().parents[2] / "boards/monitoring"
BOARD = BoardState("door-1", "east", "ok", 0.0, 30.0, None, 600.0, 2, 1, "0.3.0", 3, 51.5)


class HubThatIsGone:
    def open(self):
        raise WorkError("gone")


@pytest.fixture(scope="module")
def exported():
    """The names of all metrics of the hub's server, and the labels of each."""
    labels = defaultdict(set)
    text = write_metrics_text([*read_metrics(HubThatIsGone()), *board_metrics(BOARD)])
    for name, inside in re.findall(r"^(rkface_\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        labels[name] |= set(re.findall(r'(\w+)="', inside))
    return labels


def dashboard_queries():
    dashboard = json.loads((FOLDER / "hub_dashboard.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def alert_queries():
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def check_query(query, exported):
    """Every metric in ``query`` exists, and has the labels by which it is selected or grouped."""
    for name, selected in re.findall(r"(rkface_\w+)(?:\{(.*?)\})?", query):
        assert name in exported, f"{query}: the hub's server has no metric {name}"
        assert set(re.findall(r"(\w+)\s*[=!]", selected or "")) <= exported[name], query
    named = {label for found in re.findall(r"(?:by|on) \((.*?)\)", query) for label in found.split(", ")}
    assert named <= set().union(*exported.values()), query


def test_the_dashboard_and_the_alerts_use_metrics_and_labels_that_exist(exported):
    for query in dashboard_queries() + alert_queries():
        check_query(query, exported)


def test_every_metric_of_the_hub_is_on_the_dashboard(exported):
    shown = set(re.findall(r"rkface_\w+", " ".join(dashboard_queries())))
    assert shown == set(exported)


def test_the_variables_of_the_dashboard_are_labels_that_exist(exported):
    dashboard = json.loads((FOLDER / "hub_dashboard.json").read_text(encoding="utf-8"))
    queries = [one["definition"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    for name, label in (re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups() for query in queries):
        assert label in exported[name]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.fixture
def promtool():
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")

    def run(*arguments):
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def test_the_alert_rules_pass_their_tests(promtool):
    promtool("check", "rules", FOLDER / "alerts.yml")
    promtool("test", "rules", FOLDER / "alerts_test.yml")


def test_every_alert_has_a_test():
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    assert fired == {rule["alert"] for group in groups for rule in group["rules"]}


def test_prometheus_understands_the_queries_of_the_dashboard(promtool, tmp_path):
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(dashboard_queries())]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yml")
