"""What every folder of tests may use."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# The folders that take longest, so that they are not begun last.
LONGEST = ("convert", "parity", "twin", "runtime", "boards", "calibration")


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.split("/")[1], len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A folder's tests stay in one of `make test`'s processes: they share what took long to make, and its cache."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFolder(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return nodeid.split("/")[1]

    config.option.loadscopereorder = False  # in the order above, not by their number of tests
    return ByFolder(config, log)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real weights and photos beside the checkout, or $RKFACE_SHARED; skips where it is not."""
    folder = Path(os.environ.get("RKFACE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (folder / "models").is_dir() or not (folder / "data/people").is_dir():
        pytest.skip(f"no real weights and photos at {folder} (set RKFACE_SHARED)")
    return folder


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
    """A folder with ``ca``, a certificate for 127.0.0.1 signed by itself, and its ``key``."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out",
         folder / "ca"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder
