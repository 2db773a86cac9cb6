"""The scheduler: order of results, dropped frames, failures and closing."""

import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import DeviceError, InputError, WorkError
from rkface.runtime.core.faces import Faces
from rkface.runtime.inference.frame_queue import IN_PROGRESS
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.open_bundle import open_bundle, open_scheduler
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.inference.scheduler import Scheduler

pytest.importorskip("onnxruntime")

PATIENCE = 60  # seconds until a test that hangs fails
MANY = 5000
BLANK = np.zeros((112, 112, 3), np.uint8)
NOBODY = Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


class Context:
    name = "fake"

    def __init__(self, rule, dimensions=8):
        self.rule, self.dimensions = rule, dimensions

    def infer(self, images):
        self.rule(images)
        return [np.ones((len(images), self.dimensions), np.float32)]

    def close(self):
        pass


def threads_left():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rkface-")]


@pytest.fixture
def scheduler(bundle):
    """Makes schedulers whose images are numbers, and whose cores answer after ``rule(images)`` has returned."""
    manifest, made = read_bundle(bundle).manifest, []

    def make(work, cores=1, rule=lambda images: None, **options):
        made.append(Scheduler(manifest, lambda role, core: Context(rule), cores, work, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert threads_left() == []


def numbered(*numbers, source=""):
    return [Frame(np.full((1, 1, 3), number, np.uint8), number, source=source) for number in numbers]


def many(first):
    """So many frames of one source that a scheduler that begins one too early has done so before the last."""
    return [Frame(BLANK, number) for number in range(first, first + MANY)]


def seen(results):
    return [result.frame.number for result in results]


def embed_once(pipeline, image):
    pipeline.embed([np.full_like(BLANK, image[0, 0, 0])])
    return NOBODY


class Gate:
    """Work that waits until the gate is open, for images whose number is in ``held``."""

    def __init__(self, *held):
        self.held, self.open, self.started = held, threading.Event(), threading.Semaphore(0)

    def __call__(self, pipeline, image):
        self.started.release()
        if image[0, 0, 0] in self.held:
            assert self.open.wait(PATIENCE)
        return NOBODY

    def await_start(self):
        assert self.started.acquire(timeout=PATIENCE)


@pytest.mark.parametrize("cores", [1, 3])
def test_results_are_those_of_a_plain_pipeline(bundle, photo, cores):
    people = [(), [(1, 2, 0, 255)], [(column, column, column % 2, 235 + 2 * column) for column in range(8)]]
    images = [cv2.imread(str(photo(f"{index}.png", *faces))) for index, faces in enumerate(people * 4)]
    with open_bundle(bundle, "reference") as pipeline:
        expected = [pipeline.recognize(image) for image in images]
    assert [len(faces) for faces in expected[:3]] == [0, 1, 8]
    with open_scheduler(bundle, "reference", cores=cores, threads=1) as scheduler:
        results = list(scheduler.run(Frame(image, number) for number, image in enumerate(images)))
        beside = scheduler.pipeline().recognize(images[2])
    assert seen(results) == list(range(len(images)))
    for faces, one in zip([result.faces for result in results] + [beside], [*expected, expected[2]], strict=True):
        for name in ("boxes", "scores", "landmarks", "embeddings"):
            np.testing.assert_array_equal(getattr(faces, name), getattr(one, name))


@pytest.mark.slow
def test_real_models_give_what_a_plain_pipeline_gives(real_bundle, shared):
    images = [cv2.imread(str(path)) for path in sorted((shared / "data/people").glob("*.jpg"))[:6]]
    with open_bundle(real_bundle, "reference") as pipeline:
        expected = [pipeline.detect(image) for image in images]
        with open_scheduler(real_bundle, "reference", cores=2, threads=1, work=Pipeline.detect) as scheduler:
            found = [result.faces for result in scheduler.run(map(Frame, images))]
    assert sum(map(len, expected)) >= len(images)
    for ours, plain in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.boxes, plain.boxes, atol=0.01)  # pixels; threads change the order of sums
        assert ours.embeddings is None


def test_order_is_kept_when_later_frames_finish_first(scheduler):
    done = [threading.Event() for _ in range(40)]

    def work(pipeline, image):
        number = image[0, 0, 0]
        if number % 2 == 0:
            assert done[number + 1].wait(PATIENCE)  # the next frame always finishes first
        done[number].set()
        return NOBODY

    assert seen(scheduler(work, 3).run(iter(numbered(*range(40))))) == list(range(40))


def test_no_frame_of_a_file_is_lost_and_few_are_read_ahead(scheduler):
    read, ahead = [], []

    def frames():
        for frame in numbered(*range(200)):
            read.append(frame.number)
            yield frame

    for index, result in enumerate(scheduler(lambda pipeline, image: NOBODY, 2).run(frames())):
        ahead.append(len(read) - index)
        assert (result.frame.number, result.dropped, result.error) == (index, 0, None)
    assert len(read) == len(ahead) == 200
    assert max(ahead) <= (IN_PROGRESS + 1) * 2


def test_the_newest_frame_of_a_source_waits_and_replaced_frames_are_counted(scheduler):
    gate = Gate(0)
    live = scheduler(gate)
    live.submit(*numbered(0))
    gate.await_start()
    assert all(live.submit(frame) for frame in many(1))
    gate.open.set()
    results = live.results()
    first, second = next(results), next(results)
    assert [(one.frame.number, one.dropped) for one in (first, second)] == [(0, 0), (MANY, MANY - 1)]
    live.submit(*numbered(4))
    assert next(results).dropped == 0


def test_a_live_frame_begins_only_when_a_core_will_soon_be_free(scheduler):
    go, computing = threading.Event(), threading.Event()

    def rule(images):
        computing.set()
        assert go.wait(PATIENCE)

    def work(pipeline, image):
        pipeline.embed([BLANK] * 4)
        return NOBODY

    live = scheduler(work, 1, rule)
    live.submit(*numbered(0))
    assert computing.wait(PATIENCE)  # one of four faces has the core and three wait, so no frame may begin
    for frame in many(1):
        live.submit(frame)
    go.set()
    results = live.results()
    assert [(one.frame.number, one.dropped) for one in (next(results), next(results))] == [(0, 0), (MANY, MANY - 1)]


def test_work_on_the_next_frame_begins_while_the_core_computes(scheduler):
    first, second, submitted = threading.Event(), threading.Event(), threading.Event()

    def work(pipeline, image):
        if image[0, 0, 0] == 1:
            second.set()
            return NOBODY
        first.set()
        assert submitted.wait(PATIENCE)  # so that only the core can start the second frame, when it takes the inference
        return embed_once(pipeline, image)

    live = scheduler(work, 1, lambda images: second.wait(PATIENCE) or pytest.fail("the processor waited for the core"))
    live.submit(*numbered(0))
    assert first.wait(PATIENCE)
    live.submit(*numbered(1))
    submitted.set()
    results = live.results()
    assert [next(results).error, next(results).error] == [None, None]


def test_sources_take_turns_however_fast_one_is(scheduler):
    gate = Gate(0)
    live = scheduler(gate)
    live.submit(*numbered(0, source="fast"))
    gate.await_start()
    for frame in numbered(1, 2, source="fast") + numbered(10, source="slow") + numbered(3, 4, source="fast"):
        live.submit(frame)
    gate.open.set()
    results = live.results()
    assert seen(next(results) for _ in range(3)) == [0, 4, 10]


def test_a_slow_reader_makes_frames_wait(scheduler):
    gate = Gate()
    live = scheduler(gate)
    for frame in numbered(*range(IN_PROGRESS)):
        live.submit(frame)
        gate.await_start()
    for frame in many(1):
        live.submit(frame)
    results = live.results()
    taken = [next(results) for _ in range(IN_PROGRESS + 1)]
    assert seen(taken) == [*range(IN_PROGRESS), MANY]  # started only when the first result was taken
    assert taken[-1].dropped == MANY - 1


def test_a_frame_that_fails_is_reported_and_the_others_go_on(scheduler):
    def work(pipeline, image):
        if image[0, 0, 0] == 3:
            raise InputError("no picture")
        return NOBODY

    one = scheduler(work, 2)
    results = list(one.run(numbered(*range(8))))
    assert [result.frame.number for result in results if result.error] == [3]
    assert str(results[3].error) == "no picture" and results[3].faces is None
    assert [state.failures for state in one.state()] == [0, 0]  # the NPU did not fail


def test_a_context_that_fails_costs_its_frame_only(scheduler):
    def rule(images):
        if images[0, 0, 0, 0] == 5:
            raise DeviceError("timeout")

    one = scheduler(embed_once, 1, rule, retries=[0])
    results = list(one.run(numbered(*range(12))))
    assert [(result.frame.number, str(result.error)) for result in results if result.error] == [(5, "timeout")]
    assert seen(results) == list(range(12))
    assert (one.state()[0].failures, one.state()[0].runs) == (1, 11)


def device_lost(images):
    raise DeviceError("device lost")


def test_when_no_core_is_left_the_reader_gets_all_results_and_then_the_error(scheduler):
    one, read, results = scheduler(embed_once, 2, device_lost, retries=[0]), [], []

    def frames():
        for frame in numbered(*range(250)):
            read.append(frame.number)
            yield frame

    with pytest.raises(DeviceError, match="no core is left"):
        for result in one.run(frames()):
            results.append(result)
    assert seen(results) == read[: len(results)] and len(read) - len(results) <= 1  # one may have just been read
    assert all(isinstance(result.error, DeviceError) for result in results)
    assert len(read) < 250
    assert not one.submit(*numbered(1))


def test_a_waiting_reader_gets_the_error_when_the_last_core_is_lost(bundle):
    waits, opened = threading.Event(), []

    def open_context(role, core):
        opened.append(role)
        if len(opened) > 2:
            assert waits.wait(PATIENCE)
            raise DeviceError("still lost")
        return Context(device_lost)

    with Scheduler(read_bundle(bundle).manifest, open_context, 1, embed_once, retries=[0]) as live:
        live.submit(*numbered(0))
        results = live.results()
        assert str(next(results).error) == "device lost"
        waits.set()  # now the core is abandoned, and only that wakes the reader
        with pytest.raises(DeviceError, match=r"no core is left.*still lost"):
            next(results)


def test_an_error_while_reading_frames_comes_after_the_results_of_earlier_frames(scheduler):
    def frames():
        yield from numbered(0, 1, 2)
        raise OSError("the file ends in the middle")

    one, got = scheduler(lambda pipeline, image: NOBODY, 2), []
    with pytest.raises(OSError, match="in the middle"):
        for result in one.run(frames()):
            got.append(result)
    assert seen(got) == [0, 1, 2]
    assert seen(one.run(numbered(7))) == [7]


def test_an_abandoned_run_leaves_no_results_for_the_next_run(scheduler):
    one = scheduler(lambda pipeline, image: NOBODY, 3)
    run = one.run(numbered(*range(100)))
    assert next(run).frame.number == 0
    run.close()
    assert seen(one.run(numbered(200, 201, 202))) == [200, 201, 202]
    assert list(one.run([])) == []


def test_close_during_work_ends_the_reader_and_leaves_no_thread(scheduler):
    go, computing, refused = threading.Event(), threading.Event(), threading.Event()

    def rule(images):
        computing.set()
        assert go.wait(PATIENCE)

    def work(pipeline, image):
        try:
            pipeline.embed([BLANK])
        except DeviceError:  # it waited for the core when the scheduler was closed
            refused.set()
            raise
        return NOBODY

    live = scheduler(work, 1, rule)
    with ThreadPoolExecutor(2) as threads:
        reader = threads.submit(lambda: list(live.results()))
        live.submit(*numbered(0))
        assert computing.wait(PATIENCE)
        live.submit(*numbered(1, source="second"))
        closing = threads.submit(live.close)
        assert reader.result(PATIENCE) == []
        go.set()
        closing.result(PATIENCE)
    assert threads_left() == []
    assert not live.submit(*numbered(2))
    live.close()


def test_a_run_that_is_interrupted_by_close_is_an_error(scheduler):
    one = scheduler(lambda pipeline, image: NOBODY)
    run = one.run(numbered(*range(50)))
    next(run)
    one.close()
    with pytest.raises(WorkError, match="closed before all frames were processed"):
        list(run)


def test_an_error_of_the_reader_closes_the_scheduler(bundle):
    manifest = read_bundle(bundle).manifest
    with (
        pytest.raises(KeyError, match="mine"),
        Scheduler(manifest, lambda role, core: Context(lambda images: None), 2, embed_once) as one,
    ):
        for _ in one.run(numbered(*range(50))):
            raise KeyError("mine")
    assert threads_left() == []


def test_files_and_cameras_cannot_be_mixed(scheduler):
    one = scheduler(lambda pipeline, image: NOBODY)
    run = one.run(numbered(0, 1))
    next(run)
    with pytest.raises(WorkError, match="not both at once"):
        one.submit(*numbered(2))
    with pytest.raises(WorkError, match="only one reader"):
        next(one.results())


def test_zero_cores_are_refused_before_anything_is_opened(bundle):
    with pytest.raises(InputError, match="the number of cores must be 1 or greater, not 0"):
        open_scheduler(bundle, "reference", cores=0)
    assert threads_left() == []
