"""Read the seeds, the corpus and a fixed number of mutations of one target in this process; report what is wrong.

    python tests/fuzz/replay.py TARGET [FILE…]

With files, only these are read. The exit code is 1 if there is a finding. A native crash ends the process.
"""

import faulthandler
import os
import sys
from contextlib import suppress
from itertools import chain
from pathlib import Path

from fuzz_target import check, describe, known_inputs, load_targets, mutated, save_finding, silence_output

from rkface.runtime.core.errors import RkfaceError


def main() -> int:
    target = load_targets(sys.argv[1])[sys.argv[1]]
    inputs = [(name, Path(name).read_bytes()) for name in sys.argv[2:]]
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


if __name__ == "__main__":
    code = main()
    sys.exit(code)
