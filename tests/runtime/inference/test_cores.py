"""Inference on several cores: which core runs what, and what happens when a context fails."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rkface.runtime.core.errors import DeviceError, ModelError, UnopenedModelError
from rkface.runtime.inference.cores import Caller, Cores

PATIENCE = 60  # seconds until a test that hangs fails
IMAGE = np.zeros((112, 112, 3), np.uint8)


class Context:
    """A model whose output is the number of its core, after ``rule(context)`` has returned."""

    name = "fake"

    def __init__(self, role, core, rule):
        self.role, self.core, self.rule, self.closed = role, core, rule, 0

    def infer(self, images):
        self.rule(self)
        return [np.full((len(images), 1), self.core, np.float32)]

    def close(self):
        self.closed += 1


class Chip:
    """Opens contexts and keeps a list of them. ``rule`` may block or raise in an inference, ``opening`` in an open."""

    def __init__(self, rule=lambda context: None, opening=lambda role, core: None):
        self.rule, self.opening, self.opened = rule, opening, []

    def __call__(self, role, core):
        self.opening(role, core)
        self.opened.append(Context(role, core, self.rule))
        return self.opened[-1]


def threads_left():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rkface-")]


@pytest.fixture
def cores():
    """Makes cores, closes them after the test, and checks that no thread is left."""
    made = []

    def make(*arguments, **options):
        made.append(Cores(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert threads_left() == []


def queue_up(cores, number):
    """Return when ``number`` inferences wait."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if cores.load() == number:
            return
    pytest.fail(f"there were never {number} inferences in the queue")


def test_images_of_one_call_run_on_all_cores_at_once(cores):
    together = threading.Barrier(3)  # passed only when three inferences run at the same time
    chip = Chip(lambda context: together.wait(PATIENCE))
    [answer] = cores(chip, 3).backend("recognizer", Caller(1)).infer(np.stack([IMAGE] * 6))
    assert answer.shape == (6, 1)
    assert sorted(answer[:3, 0]) == [0, 1, 2]


def test_both_models_of_different_callers_run_at_the_same_time(cores):
    roles, together = set(), threading.Barrier(2)

    def rule(context):
        roles.add(context.role)
        together.wait(PATIENCE)

    pool = cores(Chip(rule), 2)
    backends = [pool.backend("recognizer", Caller(1)), pool.backend("detector", Caller(2))]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda backend: backend.infer(IMAGE[None]), backends))
    assert roles == {"detector", "recognizer"}


def test_the_lowest_turn_runs_first_whichever_model_it_needs(cores):
    go, busy, order = threading.Event(), threading.Event(), []

    def rule(context):
        busy.set()
        assert go.wait(PATIENCE)

    pool = cores(Chip(rule), 1)

    def ask(turn, role):
        pool.run(Caller(turn), role, [lambda context: (context.infer(IMAGE[None]), order.append((turn, role)))])

    with ThreadPoolExecutor(4) as threads:
        threads.submit(ask, 9, "detector")
        assert busy.wait(PATIENCE)
        for number, (turn, role) in enumerate([(5, "detector"), (3, "recognizer"), (0, "recognizer")], 1):
            threads.submit(ask, turn, role)
            queue_up(pool, number)
        go.set()
    assert order == [(9, "detector"), (0, "recognizer"), (3, "recognizer"), (5, "detector")]


def test_a_context_that_fails_is_closed_and_opened_again_while_others_go_on(cores):
    repaired, reopening, broken = threading.Event(), threading.Event(), []

    def rule(context):
        if context.core == 1 and not broken:
            broken.append(context)
            raise DeviceError("the NPU hung")
        if context.core == 0 and not broken:
            both.wait(PATIENCE)

    def opening(role, core):
        reopening.set()
        assert repaired.wait(PATIENCE)
        chip.rule = lambda _: together.wait(PATIENCE)

    both = threading.Event()  # keeps core 0 busy until core 1 has failed
    chip = Chip(rule)
    pool = cores(chip, 2, retries=[0])
    chip.opening = opening
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(pool.backend("recognizer", Caller(turn)).infer, IMAGE[None]) for turn in (1, 2)]
        assert reopening.wait(PATIENCE)
        both.set()
        failed = [one.exception(PATIENCE) for one in asked]
    assert sorted(str(error) for error in failed) == ["None", "the NPU hung"]
    backend = pool.backend("recognizer", Caller(3))
    for _ in range(5):
        assert backend.infer(IMAGE[None])[0] == 0  # core 1 is being reopened
    assert broken[0].closed == 1
    assert pool.state()[1].problem == "recognizer: the NPU hung"
    together = threading.Barrier(2)
    for context in chip.opened:
        context.rule = lambda _: together.wait(PATIENCE)
    repaired.set()
    assert sorted(backend.infer(np.stack([IMAGE] * 2))[0][:, 0]) == [0, 1]
    assert [(context.role, context.core) for context in chip.opened[4:]] == [("recognizer", 1)]
    state = pool.state()[1]
    assert (state.alive, state.failures, state.problem) == (True, 1, "")


def test_another_shape_of_the_detector_is_opened_by_the_core_that_first_runs_it(cores):
    together = threading.Barrier(2)
    chip = Chip(lambda context: context.role == "detector-640x384" and together.wait(PATIENCE))
    pool = cores(chip, 2)
    names = ["detector", "recognizer"] * 2
    assert [one.role for one in chip.opened] == names
    backend = pool.backend("detector-640x384", Caller(1))
    for _ in range(2):  # the barrier lets them pass only if both cores run at the same time
        backend.infer(np.stack([IMAGE] * 2))
    assert [one.role for one in chip.opened] == [*names, *["detector-640x384"] * 2]
    pool.close()
    assert all(one.closed == 1 for one in chip.opened)


def test_a_shape_that_does_not_open_is_tried_again_and_its_request_fails(cores):
    broken = [True]

    def opening(name, core):
        if name == "detector-640x384" and broken:
            broken.clear()
            raise DeviceError("no memory")

    chip = Chip(opening=opening)
    backend = cores(chip, 1, retries=[0, 0]).backend("detector-640x384", Caller(1))
    with pytest.raises(DeviceError, match="no memory"):
        backend.infer(IMAGE[None])
    assert backend.infer(IMAGE[None])[0].shape == (1, 1)


def test_a_shape_that_never_opens_costs_no_core(cores):
    def opening(name, core):
        if name == "detector-640x384":
            raise DeviceError("no memory")

    pool = cores(Chip(opening=opening), 1, retries=[0, 0])
    wide, main = (pool.backend(name, Caller(1)) for name in ("detector-640x384", "detector"))
    for _ in range(5):
        with pytest.raises(UnopenedModelError, match="no memory"):
            wide.infer(IMAGE[None])
        assert main.infer(IMAGE[None])[0].shape == (1, 1)
    [state] = pool.state()
    assert (state.alive, state.failures, state.problem) == (True, 5, "")


def test_a_success_resets_the_count_of_failures(cores):
    answers = iter([True, False, True, False, True, False, True])

    def rule(context):
        if not next(answers):
            raise OSError("once")

    pool = cores(Chip(rule), 1, retries=[0])
    backend = pool.backend("detector", Caller(1))
    for good in (True, False, True, False, True, False):
        if good:
            backend.infer(IMAGE[None])
        else:
            with pytest.raises(OSError, match="once"):
                backend.infer(IMAGE[None])
    backend.infer(IMAGE[None])
    assert pool.state()[0].alive and pool.state()[0].failures == 3


def fails(*_):
    raise DeviceError("device lost")


@pytest.mark.parametrize("when", ["running", "opening"])
def test_a_core_that_keeps_failing_is_abandoned_and_without_cores_all_callers_get_an_error(cores, when):
    chip = Chip(fails)
    pool = cores(chip, 1, retries=[0, 0])
    if when == "opening":
        chip.opening = fails
    backend = pool.backend("detector", Caller(1))
    with pytest.raises(DeviceError, match=r"^device lost"):
        backend.infer(IMAGE[None])
    with pytest.raises(DeviceError, match=r"no core is left: each failed 3 times in a row.*detector: device lost"):
        for _ in range(3):
            try:
                backend.infer(IMAGE[None])
            except DeviceError as error:
                if str(error) != "device lost":
                    raise
    assert not pool.state()[0].alive
    assert len(chip.opened) == 2 + (2 if when == "running" else 0)


def test_after_a_failure_the_rest_of_its_batch_does_not_run(cores):
    told, runs = threading.Event(), []

    def rule(context):
        runs.append(context)
        if len(runs) == 1:
            raise ValueError("not this one")

    chip = Chip(rule)
    pool = cores(chip, 1, retries=[0])
    chip.opening = lambda role, core: told.wait(PATIENCE)
    with pytest.raises(ValueError, match="not this one"):
        pool.backend("recognizer", Caller(1)).infer(np.stack([IMAGE] * 4))
    told.set()
    pool.backend("recognizer", Caller(2)).infer(IMAGE[None])
    assert len(runs) == 2


def test_a_core_that_does_not_open_is_left_out_and_the_others_do_the_work(cores, caplog):
    chip = Chip()
    chip.opening = lambda role, core: fails() if core == 1 and role == "recognizer" else None
    pool = cores(chip, 3)
    [answer] = pool.backend("recognizer", Caller(1)).infer(np.stack([IMAGE] * 6))
    assert set(answer[:, 0]) <= {0, 2}
    assert [core.alive for core in pool.state()] == [True, False, True]
    assert "recognizer" not in pool.state()[0].problem and "device lost" in pool.state()[1].problem
    assert [context.closed for context in chip.opened if context.core == 1] == [1], "its detector is not left open"
    (record,) = caplog.records
    assert record.message.startswith("NPU core 1 is not used: it does not open: ") and "device lost" in record.message


def test_if_no_core_opens_the_first_error_is_raised_and_nothing_stays_open():
    chip = Chip()
    chip.opening = lambda role, core: fails() if role == "recognizer" else None
    with pytest.raises(DeviceError, match="device lost"):
        Cores(chip, 3)
    assert [context.closed for context in chip.opened] == [1, 1, 1]
    assert threads_left() == []


def test_a_mistake_of_the_caller_is_no_reason_to_go_on_with_fewer_cores():
    chip = Chip()

    def opening(role, core):
        if core == 2:
            raise ModelError("another model")

    chip.opening = opening
    with pytest.raises(ModelError):
        Cores(chip, 3)
    assert [context.closed for context in chip.opened] == [1] * 4
    assert threads_left() == []


def test_models_that_are_opened_later_wait_until_all_cores_have_them_while_the_others_run(cores):
    # A context that has run no longer shares its weights with the next one.
    opening, go = threading.Event(), threading.Event()
    chip = Chip()
    pool = cores(chip, 2, first=["detector"], later=["recognizer"])

    def slow(role, core):
        if core == 1:
            opening.set()
            assert go.wait(PATIENCE)

    chip.opening = slow
    with ThreadPoolExecutor(2) as threads:
        early = threads.submit(pool.backend("recognizer", Caller(1)).infer, np.stack([IMAGE] * 4))
        rest = threads.submit(pool.open_later)
        assert opening.wait(PATIENCE)
        pool.backend("detector", Caller(2)).infer(np.stack([IMAGE] * 4))
        assert sum(core.runs for core in pool.state()) == 4 and not early.done()
        go.set()
        rest.result(PATIENCE)
        assert early.result(PATIENCE)[0].shape == (4, 1)
    assert [(context.role, context.core) for context in chip.opened] == [
        ("detector", 0), ("detector", 1), ("recognizer", 0), ("recognizer", 1),
    ]  # fmt: skip


def test_a_core_on_which_a_model_does_not_open_later_is_left_out(cores, caplog):
    chip = Chip()
    pool = cores(chip, 3, first=["detector"], later=["recognizer"])
    chip.opening = lambda role, core: fails() if core == 1 else None
    pool.open_later()
    for role in ("detector", "recognizer"):
        [answer] = pool.backend(role, Caller(1)).infer(np.stack([IMAGE] * 9))
        assert set(answer[:, 0]) <= {0, 2}
    pool.close()
    assert [core.alive for core in pool.state()] == [True, False, True] and "device lost" in pool.state()[1].problem
    assert [context.closed for context in chip.opened] == [1] * 5
    (record,) = caplog.records
    assert record.message == "NPU core 1 is not used: it does not open: device lost"


@pytest.mark.parametrize("error", [DeviceError("device lost"), ModelError("another model")])
def test_a_model_that_opens_on_no_core_later_is_the_same_error_as_at_once(error):
    def opening(role, core):
        if role == "recognizer":
            raise error

    chip = Chip(opening=opening)
    pool = Cores(chip, 2, first=["detector"], later=["recognizer"])
    with pytest.raises(type(error)) as raised, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.backend("recognizer", Caller(1)).infer, IMAGE[None])
        try:
            pool.open_later()
        finally:
            pool.close()
    assert raised.value is error and isinstance(waiting.exception(), DeviceError)
    assert [context.closed for context in chip.opened] == [1, 1] and threads_left() == []


def test_close_fails_waiting_inferences_and_closes_each_context_once():
    go, busy = threading.Event(), threading.Event()

    def rule(context):
        busy.set()
        assert go.wait(PATIENCE)

    chip = Chip(rule)
    pool = Cores(chip, 1)
    with ThreadPoolExecutor(3) as threads:
        running = threads.submit(pool.backend("detector", Caller(1)).infer, IMAGE[None])
        assert busy.wait(PATIENCE)
        waiting = threads.submit(pool.backend("detector", Caller(2)).infer, IMAGE[None])
        queue_up(pool, 1)
        closing = threads.submit(pool.close)
        assert isinstance(waiting.exception(PATIENCE), DeviceError)
        go.set()
        closing.result(PATIENCE)
        assert running.result(PATIENCE)[0] == 0
    assert [context.closed for context in chip.opened] == [1, 1]
    assert threads_left() == []
    with pytest.raises(DeviceError, match="closed"):
        pool.backend("detector", Caller(3)).infer(IMAGE[None])


def test_close_does_not_wait_for_the_next_retry():
    pool = Cores(Chip(fails), 1, retries=[3600])
    with pytest.raises(DeviceError, match="device lost"):
        pool.backend("detector", Caller(1)).infer(IMAGE[None])
    pool.close()
    assert threads_left() == []
