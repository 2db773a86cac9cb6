"""Where a debug build may be written. tests/twin/test_layers.py converts one and looks for faults with it."""

import pytest

from rkface.convert.debug_build import check_debug_folder
from rkface.runtime.core.debug_build import LAYERS, default_folder
from rkface.runtime.core.errors import InputError


def test_a_debug_build_replaces_only_a_debug_build(tmp_path):
    folder = default_folder(tmp_path / "rk3588")
    assert folder == tmp_path / "rk3588.debug"
    check_debug_folder(folder)
    folder.mkdir()
    (folder / "holiday.jpg").touch()
    with pytest.raises(InputError, match="exists and is not a debug build"):
        check_debug_folder(folder)
    (folder / LAYERS).touch()
    check_debug_folder(folder)
