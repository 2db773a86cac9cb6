"""A plugin of pytest that prints the tests, fixtures and files with the most CPU seconds: `make test-durations`.

Seconds on the clock depend on what else runs; those of the CPU hardly do. They include the programs that a test starts
and waits for. A fixture that several tests share is listed apart, and not counted for the test that made it. For
files, the seconds on the clock are listed too: the order in tests/conftest.py depends on them.
"""

import resource
import time
from collections import Counter

import pytest

from .native_calls import forked_seconds


def spent():
    """CPU seconds of this process, of its children that have ended, and of the forks of native_calls.py."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used) + sum(forked_seconds)


class CpuSeconds:
    def __init__(self, count):
        self.count, self.seconds, self.fixtures = count, Counter(), [0.0]
        self.files, self.clock, self.ends = Counter(), Counter(), {}
        self.start = time.monotonic()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        start, before = spent(), self.fixtures[-1]
        self.fixtures.append(0.0)
        try:
            return (yield)
        finally:
            inner, taken = self.fixtures.pop(), spent() - start
            shared = fixturedef.scope != "function"
            if shared:
                self.seconds[f"fixture {fixturedef.argname} ({fixturedef.baseid})"] += taken - inner
            self.fixtures[-1] = before + (taken if shared else inner)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        start, clock, self.fixtures[-1] = spent(), time.monotonic(), 0.0
        try:
            return (yield)
        finally:
            file, taken = item.nodeid.partition("::")[0], spent() - start
            self.seconds[item.nodeid] += taken - self.fixtures[-1]
            self.files[file] += taken
            self.clock[file] += time.monotonic() - clock

    def pytest_sessionfinish(self, session):
        output = getattr(session.config, "workeroutput", None)  # of a process of pytest-xdist
        if output is not None:
            output["cpu_seconds"] = [dict(one) for one in (self.seconds, self.files, self.clock)]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        for total, one in zip(
            (self.seconds, self.files, self.clock),
            getattr(node, "workeroutput", {}).get("cpu_seconds", ()),
            strict=False,
        ):
            total.update(one)

    def pytest_runtest_logreport(self, report):
        if hasattr(report, "node"):  # in the process that hands out the tests
            self.ends[report.node.gateway.id] = time.monotonic() - self.start

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section(f"most CPU seconds, of {sum(self.seconds.values()):.0f}")
        for name, taken in self.seconds.most_common(self.count):
            terminalreporter.line(f"{taken:7.1f}  {name}")
        terminalreporter.section("files: CPU seconds, seconds on the clock")
        for name, taken in self.files.most_common(self.count):
            terminalreporter.line(f"{taken:7.1f} {self.clock[name]:7.1f}  {name}")
        for name, end in self.ends.items():
            terminalreporter.line(f"{name}: the last test ended after {end:.0f} s")
