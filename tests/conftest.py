"""What every folder of tests may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real weights and photos beside the checkout, or $RKFACE_SHARED; skips where it is not."""
    folder = Path(os.environ.get("RKFACE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (folder / "models").is_dir() or not (folder / "data/people").is_dir():
        pytest.skip(f"no real weights and photos at {folder} (set RKFACE_SHARED)")
    return folder
