"""What the service says about the machine when it starts."""

from types import SimpleNamespace

import pytest

from rkface.runtime.service.startup import check_library


@pytest.mark.parametrize(
    ("backend", "library", "warns"),
    [("npu", "2.3.2", True), ("npu", "2.5.0", False), ("npu", None, False), ("reference", "2.3.2", False)],
)
def test_an_older_librknnrt_is_a_warning(tmp_path, caplog, backend, library, warns):
    if library:
        (tmp_path / "usr/lib").mkdir(parents=True)
        (tmp_path / "usr/lib/librknnrt.so").write_bytes(f"\0librknnrt version: {library} (x@2025)\0".encode())
    pipeline = SimpleNamespace(backend=backend, manifest=SimpleNamespace(toolkit="2.5.0"))
    check_library(pipeline, tmp_path)
    expected = "librknnrt 2.3.2 is older than toolkit 2.5.0"
    assert [expected in message for message in caplog.messages] == [True] * warns
