"""The tables of `make bench` in Markdown."""

from __future__ import annotations

from typing import Any

from npu_limit import markdown as limit_tables

STAGES = {
    "letterbox": "letterbox",
    "tensor": "tensor",
    "inference": "inference",
    "decode": "decode",
    "nms": "NMS",
    "rest": "rest",
    "align": "align",
    "embed": "embed",
}


def markdown(report: dict[str, Any]) -> str:
    return "\n".join(
        [
            *_facts(report), "", "## Whole: detection, alignment, embeddings", "", *_whole(report["rows"]), "",
            "## Own work: all but ONNX Runtime", "", *_own(report["rows"]), "", "## rkface's stages", "",
            *_stages(report["rows"]), "", "## The NPU's limit", "", limit_tables(report["limits"]),
        ]
    )  # fmt: skip


def _facts(report: dict[str, Any]) -> list[str]:
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


def _whole(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| frame | faces | threads | rkface median (p95) | insightface median (p95) | times as fast | boxes apart "
        "px | cosine, same crop | own crops | |",
        "|---" * 10 + "|",
    ]
    for row in rows:
        agreed = row["agreement"]
        forms = {"pixels": ".3f", "same_crop": ".5f", "own_crop": ".4f"}
        cells = ["" if agreed[name] is None else format(agreed[name], form) for name, form in forms.items()]
        said = f"**not comparable**: {row['problem']}" if row["problem"] else "agree"
        times = f"{_times(row['ours'])} | {_times(row['theirs'])} | {_ratio(row['faster'])}"
        lines.append(f"{_start(row)} | {times} | {' | '.join(cells)} | {said} |")
    return lines


def _own(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| frame | faces | threads | rkface median (p95) | insightface median (p95) | times less | align a face: "
        "rkface | insightface |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        faces = max(row["agreement"]["ours"], 1)
        aligned = [f"{one['median'] / faces:.3f}" if one else "" for one in (row["align_ours"], row["align_theirs"])]
        times = f"{_times(row['own_ours'])} | {_times(row['own_theirs'])} | {_ratio(row['own_less'])}"
        lines.append(f"{_start(row)} | {times} | {' | '.join(aligned)} |")
    return lines


def _stages(rows: list[dict[str, Any]]) -> list[str]:
    """``tensor`` is uint8 → float planes, which the NPU does itself; ``rest`` is what no stage names."""
    lines = ["| frame | faces | threads | " + " | ".join(STAGES.values()) + " |", "|---" * (3 + len(STAGES)) + "|"]
    for row in rows:
        cells = " | ".join(f"{row['stages'][name]:.2f}" for name in STAGES)
        lines.append(f"{_start(row)} | {cells} |")
    return lines


def _start(row: dict[str, Any]) -> str:
    found, wanted = row["agreement"]["ours"], row["wanted"]
    faces = str(found) if found == wanted else f"{found} of {wanted}"
    return f"| {row['width']}×{row['height']} | {faces} | {row['threads']}"


def _times(one: dict[str, float]) -> str:
    return f"{one['median']:.2f} ({one['p95']:.2f})"


def _ratio(one: dict[str, Any]) -> str:
    return f"{one['median']:.2f} [{one['low']:.2f}–{one['high']:.2f}]"
