"""An OpenCV of a distribution may be older than the one from PyPI."""

from argparse import Namespace

from rkface.runtime.cameras import opencv
from rkface.runtime.cli import version


def test_an_old_opencv_works_and_its_risk_is_named(monkeypatch, caplog, capsys):
    monkeypatch.setattr(opencv.cv2, "__version__", "4.6.0")
    opencv.warn_of_old_opencv.cache_clear()
    for _ in range(3):
        opencv.warn_of_old_opencv()
    assert [record.getMessage() for record in caplog.records if "OpenCV 4.6.0 is older" in record.getMessage()] != []
    assert len(caplog.records) == 1
    monkeypatch.setattr(version, "find_versions", lambda: {"opencv": "4.6.0", "numpy": None})
    assert version._version(Namespace(json=False)) == 0
    assert "warning: OpenCV 4.6.0 is older than 4.14" in capsys.readouterr().err
    opencv.warn_of_old_opencv.cache_clear()
