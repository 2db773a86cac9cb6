"""The tables of `make bench` in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from comparison_faces import to_markdown as same_faces_to_markdown
from npu_limit import to_markdown as limit_to_markdown
from program import format_table

STAGES = ("letterbox", "tensor", "inference", "decode", "nms", "rest", "align", "embed")
BOUND = ("touch", "tensor", "scores", "crops")
MOST_OVER_BOUND = 1.5  # the goal: own work is at most so many times its bound
FRAME = ["frame", "faces", "threads"]
TIMES = ["rkface median (p95)", "insightface median (p95)"]


def to_markdown(report: dict[str, Any]) -> str:
    """All tables of ``report``, which is the content of the JSON file."""
    rows = report["rows"]
    return "\n".join(
        [
            *_describe_conditions(report), "", "## Total: detection, alignment, embeddings", "", *_tabulate_total(rows),
            "", "## The same faces", "", same_faces_to_markdown(report["same_faces"]),
            "", "## Own work: everything except ONNX Runtime", "", *_tabulate_own_work(rows), "",
            "## Own work and its bound", "", *_tabulate_bound(rows), "",
            "## rkface's stages", "", *_tabulate_stages(rows), "", "## The NPU's limit", "",
            limit_to_markdown(report["limits"]),
        ]
    )  # fmt: skip


def _describe_conditions(report: dict[str, Any]) -> list[str]:
    machine = report["machine"]
    models = ", ".join(f"{one['file']} (sha256 {one['sha256'][:8]}…)" for one in report["models"].values())
    ours, theirs = (
        ", ".join(f"{name} {number}" for name, number in versions.items()) for versions in report["versions"]
    )
    return [
        f"- machine: {machine['cores']} cores of {machine['processor']}, kernel {machine['versions']['kernel']}",
        f"- rkface {report['commit']}: {ours}, Python {machine['versions']['python']}",
        f"- the other side: {theirs}",
        f"- models: {models}{'; synthetic: the demo pack, on rendered people' if report['synthetic'] else ''}",
        f"- {report['rounds']} runs of each side and frame, alternating, {report['date']}; load average before: "
        f"{report['load']:.1f}",
        f"- milliseconds{' of CPU time, all threads' if report['timer'] == 'cpu' else ''}; […] is the 95 % interval of "
        "the median ratio",
    ]


def _tabulate_total(rows: Iterable[dict[str, Any]]) -> list[str]:
    table = []
    for row in rows:
        agreement = row["agreement"]
        formats = {"pixels": ".3f", "same_crop": ".5f", "own_crop": ".4f"}
        cells = ["" if agreement[name] is None else format(agreement[name], form) for name, form in formats.items()]
        verdict = f"**not comparable**: {row['problem']}" if row["problem"] else "agree"
        times = [_format_times(row["ours"]), _format_times(row["theirs"]), _format_ratio(row["faster"])]
        table.append([*_describe_frame(row), *times, *cells, verdict])
    return format_table(
        [*FRAME, *TIMES, "times as fast", "boxes apart px", "cosine, same crop", "own crops", ""], table
    )


def _tabulate_own_work(rows: Iterable[dict[str, Any]]) -> list[str]:
    table = []
    for row in rows:
        faces = max(row["agreement"]["ours"], 1)
        align = [f"{one['median'] / faces:.3f}" if one else "" for one in (row["align_ours"], row["align_theirs"])]
        times = [_format_times(row["own_ours"]), _format_times(row["own_theirs"]), _format_ratio(row["own_less"])]
        table.append([*_describe_frame(row), *times, *align])
    return format_table([*FRAME, *TIMES, "times less", "align a face: rkface", "insightface"], table)


def _tabulate_bound(rows: Iterable[dict[str, Any]]) -> list[str]:
    table = []
    for row in rows:
        bound, own = sum(row["bound"].values()), row["own_ours"]["median"]
        parts = [f"{row['bound'][name]:.2f}" for name in BOUND]
        over = "" if own <= MOST_OVER_BOUND * bound else f"**above {MOST_OVER_BOUND:g}**"
        table.append([*_describe_frame(row), *parts, f"{bound:.2f}", f"{own:.2f}", f"{own / bound:.2f}", over])
    return format_table(
        [*FRAME, "touch the frame", "tensor", "scores", "crops", "bound", "own work", "times the bound", ""], table
    )


def _tabulate_stages(rows: Iterable[dict[str, Any]]) -> list[str]:
    table = [[*_describe_frame(row), *(f"{row['stages'][name]:.2f}" for name in STAGES)] for row in rows]
    return format_table([*FRAME, *("NMS" if name == "nms" else name for name in STAGES)], table)


def _describe_frame(row: dict[str, Any]) -> list[object]:
    found, wanted = row["agreement"]["ours"], row["wanted"]
    faces = str(found) if found == wanted else f"{found} of {wanted}"
    return [f"{row['width']}×{row['height']}", faces, row["threads"]]


def _format_times(times: dict[str, float]) -> str:
    return f"{times['median']:.2f} ({times['p95']:.2f})"


def _format_ratio(ratio: dict[str, Any]) -> str:
    return f"{ratio['median']:.2f} [{ratio['low']:.2f}–{ratio['high']:.2f}]"
