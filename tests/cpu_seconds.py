"""A plugin of pytest that prints the tests and fixtures with the most CPU seconds: `make test-durations`.

Seconds on the clock depend on what else runs; those of the CPU hardly do. They include the programs that a test starts
and waits for. A fixture that several tests share is listed apart, and not counted for the test that made it.
"""

import resource
from collections import Counter

import pytest


def spent():
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class CpuSeconds:
    def __init__(self, count):
        self.count, self.seconds, self.fixtures = count, Counter(), [0.0]

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
        start, self.fixtures[-1] = spent(), 0.0
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] += spent() - start - self.fixtures[-1]

    def pytest_sessionfinish(self, session):
        output = getattr(session.config, "workeroutput", None)  # of a process of pytest-xdist
        if output is not None:
            output["cpu_seconds"] = dict(self.seconds)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self.seconds.update(getattr(node, "workeroutput", {}).get("cpu_seconds", {}))

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section(f"most CPU seconds, of {sum(self.seconds.values()):.0f}")
        for name, taken in self.seconds.most_common(self.count):
            terminalreporter.line(f"{taken:7.1f}  {name}")
