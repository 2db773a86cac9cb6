"""Counts and states in Prometheus' text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Metric:
    """One sample; ``kind`` is "gauge" or "counter", and ``name`` gets the prefix "rkface_"."""

    name: str
    kind: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def write_metrics_text(metrics: Iterable[Metric]) -> str:
    """Return ``metrics`` as text, sorted by name, each name described once."""
    lines: list[str] = []
    described = set()
    for metric in sorted(metrics, key=lambda metric: metric.name):
        name = f"rkface_{metric.name}"
        if name not in described:
            described.add(name)
            lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        labels = ",".join(f'{key}="{_escape(text)}"' for key, text in metric.labels.items())
        lines.append(f"{name}{{{labels}}} {metric.value:.10g}" if labels else f"{name} {metric.value:.10g}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
