"""Which camera `rkface run` takes if none is named, on the nodes that boards have."""

import pytest

from rkface.runtime.cameras.source_names import default_camera, place_source
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


@pytest.mark.parametrize("source", ["clip.mp4", "photos", "more/../clip.mp4", "absent/clip.mp4"])
def test_a_relative_recording_is_below_the_folder_that_names_it(tmp_path, source):
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "photos").mkdir()
    assert place_source(source, tmp_path) == str(tmp_path / source)


@pytest.mark.parametrize(
    "source",
    [
        "0",
        "-",
        "",
        "/dev/video0",
        "/srv/clip.mp4",
        "rtsp://u:p@h/1",
        "rtsp:/h/1",
        "u:p@h/1",
        "filesrc location=/srv/clip.mp4 ! appsink",
        "usb-046d_HD_Pro_Webcam_C920-video-index0",  # not connected now
    ],
)
def test_what_is_no_relative_path_stays(tmp_path, source):
    assert place_source(source, tmp_path) == source
