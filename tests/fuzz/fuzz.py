"""`make fuzz`: search for inputs that break a reader, with atheris (coverage-guided), until the time is over.

    make fuzz OPTIONS='--seconds 600 picture onnx'

Each target runs in a process of its own. Inputs that break it are written to build/fuzz/findings, and described. The
corpus that grows is kept in build/fuzz/corpus, so the next run goes on from there. Made small, a finding belongs into
tests/fuzz/corpus/TARGET, where the tests read it again. The exit code is 1 if there is a finding.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time

if "--one" in sys.argv:  # before rkface is imported
    import atheris

    atheris.instrument_imports(include=["rkface", "json", "tomllib", "csv"], enable_loader_override=False).__enter__()

from fuzz_target import CORPUS, FINDINGS, Target, check, describe, load_targets, save_finding

BUILD = FINDINGS.parent
INSTRUMENTED = 10.0  # atheris makes Python code slower by up to this factor
INTERRUPTED = 72  # libFuzzer's exit code after Ctrl-C or SIGTERM
MOST_FINDINGS = 5  # of one target, then the next one has its turn


def main() -> int:
    names = list(load_targets())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(names)} (default: all)")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="time for each (default: %(default)s)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.targets if name not in names]
    if unknown:
        parser.error(f"there is no target {unknown[0]}: choose from {', '.join(names)}")
    if options.one:
        run_here(load_targets()[options.targets[0]], options.seconds)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    found = 0
    for name in options.targets or names:
        found += run(name, options.seconds)
    return int(found > 0)


def run(name: str, seconds: int) -> int:
    """Fuzz one target for ``seconds``; return the number of different findings."""
    start, executions, findings = time.monotonic(), 0, set()
    end = start + seconds
    while (left := int(end - time.monotonic())) > 0 and len(findings) < MOST_FINDINGS:
        log = BUILD / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            command = [sys.executable, __file__, "--one", "--seconds", str(left), name]
            code = subprocess.run(command, check=False, stdout=output, stderr=subprocess.STDOUT).returncode
        text = log.read_text(errors="replace")
        counts = re.findall(r"stat::number_of_executed_units: (\d+)|^#(\d+)\s", text, re.MULTILINE)
        executions += int(next(filter(None, counts[-1]))) if counts else 0
        if code in (0, INTERRUPTED):
            break
        lines = re.findall(r"^FINDING (.*)$", text, re.MULTILINE) or [f"ended with {code}: see {log}"]
        if lines[-1] not in findings:
            print(f"{name}: {lines[-1]}", flush=True)
        findings.add(lines[-1])
    print(
        f"{name:<28} {executions:>12,} executions in {time.monotonic() - start:.0f} s, findings: {len(findings)}",
        flush=True,
    )
    return len(findings)


def run_here(target: Target, seconds: int) -> None:
    """Fuzz in this process. atheris ends it."""
    grown, seeds = BUILD / "corpus" / target.name, BUILD / "seeds" / target.name
    for folder in (grown, seeds, FINDINGS / target.name):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (seeds / str(number)).write_bytes(seed)

    def test_one(data: bytes) -> None:
        try:
            check(target, data, INSTRUMENTED)
        except Exception as error:
            print(f"FINDING {describe(error)}: {save_finding(target, data)}", flush=True)
            raise

    folders = [str(folder) for folder in (grown, seeds, CORPUS / target.name) if folder.is_dir()]
    limits = [
        f"-max_total_time={seconds}",
        "-timeout=60",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
        "-max_len=65536",
        f"-artifact_prefix={FINDINGS / target.name}/",
    ]
    atheris.Setup([sys.argv[0], *limits, *folders], test_one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
