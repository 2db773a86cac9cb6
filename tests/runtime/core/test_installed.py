"""Versions of software, read from files and metadata."""

from pathlib import Path

from rkface.runtime.core.installed import package_version, runtime_library

BOARDS = Path(__file__).parents[2] / "boards/fixtures"


def test_the_first_installed_package_counts():
    assert package_version(["no-such-package", "rkface"]) == package_version(["rkface"])
    assert package_version(["no-such-package"]) is None


def test_the_runtime_library_of_a_board_is_found_and_its_version_is_read_from_the_file(tmp_path):
    path, version = runtime_library(BOARDS / "rock-5b")
    assert path == BOARDS / "rock-5b/usr/lib/librknnrt.so" and version.count(".") == 2
    assert runtime_library(tmp_path) is None
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/librknnrt.so").write_bytes(b"\x7fELF of another maker")
    assert runtime_library(tmp_path) == (tmp_path / "usr/lib/librknnrt.so", "")
