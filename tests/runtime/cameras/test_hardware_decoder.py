"""Which decoder a camera gets. The outputs of ffmpeg are those of real builds, as quoted in public issues."""

import io

import cv2
import numpy as np
import pytest

from rkface.runtime.cameras import hardware_decoder, rtsp
from rkface.runtime.cameras.camera import open_camera
from rkface.runtime.cameras.hardware_decoder import HardwareDecoder, find_hardware_decoder
from rkface.runtime.cameras.source_names import has_gstreamer
from rkface.runtime.cameras.y4m import read_header, to_bgr
from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.ffmpeg import find_mpp_codecs

# nyanmisaka/ffmpeg-rockchip #88
ROCKCHIP = """ V..... av1_rkmpp            Rockchip MPP (Media Process Platform) AV1 decoder (codec av1)
 V..... h263_rkmpp           Rockchip MPP (Media Process Platform) H263 decoder (codec h263)
 V..... h264_rkmpp           Rockchip MPP (Media Process Platform) H264 decoder (codec h264)
 V..... hevc_rkmpp           Rockchip MPP (Media Process Platform) HEVC decoder (codec hevc)
"""
# jellyfin/jellyfin-ffmpeg #160: the decoders of FFmpeg itself, which deliver handles only
UPSTREAM = (
    " V..... h264_rkmpp           h264 (rkmpp) (codec h264)\n V..... hevc_rkmpp           hevc (rkmpp) (codec hevc)\n"
)
DEBIAN = " VFS..D h264                 H.264 / AVC / MPEG-4 AVC\n V..... h264_v4l2m2m         V4L2 mem2mem wrapper\n"


@pytest.mark.parametrize(
    ("decoders", "hwaccels", "codecs"),
    [
        (ROCKCHIP, "drm\nrkmpp\n", ("h264", "h265")),
        (ROCKCHIP.replace("h264_rkmpp", "vp9_rkmpp "), "rkmpp\n", ("h265",)),
        (UPSTREAM, "Hardware acceleration methods:\ndrm\n", ()),
        (DEBIAN, "Hardware acceleration methods:\nvdpau\nvaapi\ndrm\n", ()),
        ("", "", ()),
    ],
)
def test_the_codecs_that_an_ffmpeg_decodes_with_mpp(decoders, hwaccels, codecs):
    assert find_mpp_codecs(decoders, hwaccels) == codecs


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Describe the machine: the text of its program ffmpeg, and the nodes of MPP."""

    def describe(program, *nodes):
        path = tmp_path / "ffmpeg"
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)
        monkeypatch.setattr(hardware_decoder, "PROGRAMS", ("/nowhere/ffmpeg", str(path)))
        monkeypatch.setattr(hardware_decoder, "MPP_NODES", nodes)
        find_hardware_decoder.cache_clear()
        return find_hardware_decoder()

    yield describe
    find_hardware_decoder.cache_clear()


def test_what_a_machine_lacks_for_hardware_decoding_is_said(machine, tmp_path):
    able = "echo ' V..... h264_rkmpp  x'; echo rkmpp"
    assert machine(able, "/dev/null") == HardwareDecoder(str(tmp_path / "ffmpeg"), ("h264",))
    assert "there is no /nowhere/mpp" in machine(able, "/nowhere/mpp", "/dev/null").problem
    assert "jellyfin-ffmpeg" in machine("echo drm", "/dev/null").problem
    assert machine("exit 1", "/dev/null").codecs == ()


def test_a_decoder_that_cannot_work_is_refused(machine):
    machine("echo ' V..... h264_rkmpp  x'; echo rkmpp", "/dev/null")
    for source, decoder, message in (
        ("rtsp://door/1", "h265", "decodes only h264"),
        ("rtsp://door/1", "vp9", "is not possible"),
        ("http://ada:secret@door/1", "h264", "for addresses that begin with rtsp://, not for http://door/1"),
        ("/dev/video0", "software", "for addresses that begin with rtsp://"),
    ):
        with pytest.raises(InputError, match=message):
            open_camera(source, decoder=decoder)
    machine("exit 1", "/dev/null")
    with pytest.raises(InputError, match="needs hardware decoding: no ffmpeg here"):
        open_camera("rtsp://door/1", decoder="h264")
    open_camera("rtsp://door/1").close()


def test_config_check_refuses_a_decoder_that_cannot_work(machine, tmp_path, monkeypatch, capsys):
    machine("exit 1", "/dev/null")
    file = tmp_path / "rkface.toml"

    def check(source):
        file.write_text(f'[camera.door]\nsource = "{source}"\ndecoder = "h264"\n')
        code = main(["config", "check", str(file)])
        out, err = capsys.readouterr()
        return code, out if code == 0 else err

    code, text = check("http://door/1")
    assert code == 2 and "camera.door.decoder: decoder 'h264' is for addresses that begin with rtsp://" in text
    code, text = check("rtsp://door/1")  # the file may be meant for a board
    assert code == 0 and "note: camera.door.decoder: decoder 'h264' needs hardware decoding" in text
    monkeypatch.setattr("rkface.runtime.core.soc.read_soc", lambda: "rk3588")
    code, text = check("rtsp://door/1")
    assert code == 2 and "needs hardware decoding" in text


def test_a_codec_that_hardware_does_not_decode_goes_to_software(machine, monkeypatch):
    machine("echo ' V..... h264_rkmpp  x'; echo rkmpp", "/dev/null")
    monkeypatch.setattr(rtsp, "find_codec", lambda program, address: "hevc")
    monkeypatch.setattr(rtsp, "NetworkStream", lambda address, shown: f"software {shown}")
    assert rtsp.RtspCamera("rtsp://door/1", "door", None).open(lambda: True) == "software door"


def test_gstreamer_is_there_only_if_opencv_can_use_it():
    info = cv2.getBuildInformation()
    assert has_gstreamer() == ("GStreamer:                   YES" in info)


@pytest.mark.parametrize("full", [False, True])
def test_raw_video_keeps_its_colors(full):
    colors = np.uint8([[[200, 30, 30]], [[30, 200, 30]], [[30, 30, 200]], [[128, 128, 128]], [[235, 235, 235]]])
    image = np.repeat(np.repeat(colors, 8, axis=0), 32, axis=1)
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).ravel()
    if full:  # as cameras with yuvj420p send it
        luma, chroma = planes[: image.size // 3].astype(float), planes[image.size // 3 :].astype(float)
        planes = np.concatenate([(luma - 16) * 255 / 219, (chroma - 128) * 255 / 224 + 128]).round().astype(np.uint8)
    line = f"YUV4MPEG2 W32 H40 F25:2 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE={'FULL' if full else 'LIMITED'}\n"
    header = read_header(io.BytesIO(line.encode()).readline)
    assert (header.width, header.height, header.rate, header.nbytes) == (32, 40, 12.5, 1920)
    assert np.abs(to_bgr(planes, header).astype(int) - image).max() <= 4


@pytest.mark.parametrize(
    "line",
    [
        b"RIFF....AVI LIST\n",
        b"YUV4MPEG2 W0 H8\n",
        b"YUV4MPEG2 W9 H8\n",
        b"YUV4MPEG2 W8 H8 C444\n",
        b"YUV4MPEG2 W8 H8 C420p10\n",
        b"\xff\n",
        b"YUV4MPEG2 Wx H8\n",
        b"\n",
    ],
)
def test_other_data_is_not_taken_for_video(line):
    with pytest.raises(ValueError):
        read_header(io.BytesIO(line).readline)
