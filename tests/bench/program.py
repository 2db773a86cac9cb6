"""What the benchmark programs share: command-line options, Markdown tables and result files."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rkface.runtime.inference.machine import read_machine


class BenchmarkParser(argparse.ArgumentParser):
    """Shows on stderr on which machine, and with which versions, the benchmark runs: figures mean little without."""

    def parse_args(self, *arguments: Any, **more: Any) -> Any:
        options = super().parse_args(*arguments, **more)
        print(describe_machine(), file=sys.stderr, flush=True)
        return options


def create_parser(description: str | None, out: str | None = None) -> argparse.ArgumentParser:
    """A parser whose ``--help`` shows ``description`` unchanged. ``out``: default path of the result files."""
    parser = BenchmarkParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if out:
        parser.add_argument(
            "--out", type=Path, default=Path(out), help="path of the results, without .md and .json (%(default)s)"
        )
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--detector``, ``--recognizer`` and ``--photos``, which belong together."""
    parser.add_argument("--detector", type=Path, metavar="ONNX", help="face detector with a fixed input size")
    parser.add_argument("--recognizer", type=Path, metavar="ONNX", help="face recognition model")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos of faces, of as many people as possible")


def has_own_models(parser: argparse.ArgumentParser, options: argparse.Namespace) -> bool:
    """Whether the user named models and photos. Ends the program if only some of the three are named."""
    own = (options.detector, options.recognizer, options.photos)
    if any(own) != all(own):
        parser.error("--detector, --recognizer and --photos belong together: give all three, or none of them")
    return all(own)


def format_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    return lines + [f"| {' | '.join(map(str, row))} |" for row in rows]


def write_results(out: Path, markdown: str, results: Any) -> None:
    """Write ``markdown`` and the machine to ``out``.md and ``results`` to ``out``.json, and print the Markdown and both
    paths."""
    out.parent.mkdir(parents=True, exist_ok=True)
    paths = out.with_suffix(".md"), out.with_suffix(".json")
    paths[0].write_text(f"{markdown}\n{describe_machine()}\n", encoding="utf-8")
    paths[1].write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{markdown}\nwritten: {paths[0]}, {paths[1]}")


def describe_machine() -> str:
    """The processor, the load, and the versions of Python and of the packages that matter here."""
    machine = read_machine()
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return f"{machine.processor}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {versions}"
