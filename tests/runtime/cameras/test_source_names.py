"""Which camera `rkface run` takes if none is named, on the nodes that boards have."""

import pytest

from rkface.runtime.cameras.source_names import default_camera
from rkface.runtime.core.errors import InputError

# As on an Orange Pi 5 Plus with a MIPI camera: HDMI input, receiver of the camera, image processor.
ORANGE_PI = {
    "video0": "stream_hdmirx",
    "video1": "stream_cif_mipi_id0",
    "video11": "rkisp_mainpath",
    "video12": "rkisp_selfpath",
}


@pytest.fixture
def board(tmp_path):
    def with_nodes(names, usb=""):
        for node, name in names.items():
            folder = tmp_path / f"sys/class/video4linux/{node}"
            folder.mkdir(parents=True)
            (folder / "name").write_text(f"{name}\n")
        if usb:
            (tmp_path / "dev/v4l/by-id").mkdir(parents=True)
            (tmp_path / "dev/v4l/by-id" / usb).touch()
        return tmp_path

    return with_nodes


def test_a_usb_camera_comes_first(board):
    assert default_camera(board(ORANGE_PI, "usb-C920-video-index0")) == "/dev/v4l/by-id/usb-C920-video-index0"


def test_of_a_mipi_camera_the_node_with_pictures_is_taken(board):
    assert default_camera(board(ORANGE_PI)) == "/dev/video11"


def test_of_two_mipi_cameras_the_lower_number_is_taken(board):
    assert default_camera(board(dict.fromkeys(("video11", "video2"), "rkisp_mainpath"))) == "/dev/video2"


def test_an_hdmi_input_is_not_a_camera(board):
    with pytest.raises(InputError, match="video0 is the HDMI input"):
        default_camera(board({"video0": "stream_hdmirx"}))


def test_without_any_camera_one_may_appear_later(board):
    assert default_camera(board({})) == "/dev/video0"
