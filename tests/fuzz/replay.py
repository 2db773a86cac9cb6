"""Read the seeds, the corpus and a fixed number of mutations of one target; report what is wrong.

    python tests/fuzz/replay.py TARGET [FILE…]
    python tests/fuzz/replay.py --each TARGET…

With files, only these are read. The exit code is 1 if there is a finding. A native crash ends the process.

--each reads several targets of one of our files, each in a fork of a process that has loaded the file. It prints a JSON
object: target → [exit status, report].
"""

import faulthandler
import json
import os
import sys
import tempfile
from contextlib import suppress
from itertools import chain
from pathlib import Path

from fuzz_target import Target, check, describe, known_inputs, load_targets, mutated, save_finding, silence_output

from rkface.runtime.core.errors import RkfaceError


def replay(target: Target, files: list[str]) -> int:
    """Read ``files``, or else all inputs of ``target``; returns the exit status."""
    inputs = [(name, Path(name).read_bytes()) for name in files]
    report = silence_output()
    faulthandler.enable(report)
    for data in list(target.seeds())[:1]:
        with suppress(RkfaceError):
            target.read(data)  # what is imported at the first use does not count
    found = 0
    for name, data in inputs or chain(known_inputs(target), mutated(target)):
        try:
            check(target, data)
        except Exception as error:
            found += 1
            os.write(report, f"{target.name}, {name} ({len(data)} bytes): {describe(error)}\n".encode())
            if name.startswith("mutation"):
                save_finding(target, data)
    return int(found > 0)


def replay_each(names: list[str]) -> dict[str, tuple[int, str]]:
    """``replay`` the targets ``names`` of one file, each in a fork; their exit statuses and reports."""
    targets, done = load_targets(names[0]), {}
    for name in names:
        with tempfile.TemporaryFile() as report:
            fork = os.fork()
            if fork == 0:
                for stream in (1, 2):
                    os.dup2(report.fileno(), stream)
                os._exit(replay(targets[name], []))
            status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
            report.seek(0)
            done[name] = status, report.read().decode(errors="replace")
    return done


def main() -> int:
    if sys.argv[1] == "--each":
        print(json.dumps(replay_each(sys.argv[2:])))
        return 0
    return replay(load_targets(sys.argv[1])[sys.argv[1]], sys.argv[2:])


if __name__ == "__main__":
    code = main()
    sys.exit(code)
