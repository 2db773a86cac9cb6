"""Secrets in addresses are never shown."""

from string import ascii_letters, digits

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.cameras.open_camera import open_camera
from rkface.runtime.core.addresses import ENCODE, mask_address, mask_secrets, split_address
from rkface.runtime.core.errors import InputError
from rkface.runtime.service.settings import named_cameras

MARK = "S3cretMark"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:S3cr t@127.0.0.1:9/live", "rtsp://127.0.0.1:9/live"),
        ("admin:S3cret@127.0.0.1/live", "127.0.0.1/live"),
        ("rtsp://admin:S3cr/t@127.0.0.1:9/live", "rtsp://127.0.0.1:9/live"),
        ("rtsp:/admin:S3cret@127.0.0.1/live", "rtsp://127.0.0.1/live"),
        ("//admin:S3cret@127.0.0.1/live", "127.0.0.1/live"),
        ("rtsp//admin:S3cret@127.0.0.1/live", "127.0.0.1/live"),
        ("/data/film a:b@c.mp4", "/data/film a:b@c.mp4"),
        ("RTSP://admin:S3cret@[fe80::1]:554/live?channel=1", "RTSP://[fe80::1]:554/live?channel=1"),
        ("rtsp://admin%3AS3cret%40host/live", "rtsp://host/live"),
        ("rtsp://admin:ab:c?d#e@host/live", "rtsp://host/live"),
        ("rtsp://admin:a@b/c@host/live", "rtsp://…"),
        ("rtsp://admin:S3cret@host/live?channel=1&token=x&pass%77ord=y", "rtsp://host/live?channel=1&token=…&pass%77ord=…"),
        ("rtsp://host/live?password=a@b/c&subtype=0", "rtsp://host/live?password=…&subtype=0"),
        ("http://host/snapshot.cgi?loginuse=admin&loginpas=x", "http://host/snapshot.cgi?loginuse=…&loginpas=…"),
        ("rtsp://host/user=admin_password=x_channel=1_stream=0.sdp", "rtsp://host/user=…"),
        ("rtsps://10.0.0.2:7441/a1B2c3D4e5F6g7H8?enableSrtp", "rtsps://10.0.0.2:7441/…?…"),
        ("rtsp://admin:S3cret", "rtsp://…"),
        (
            "rtspsrc location=rtsp://h:9/live user-id=me user-pw=S3 ret ! appsink",
            "rtspsrc location=rtsp://h:9/live user-id=… user-pw=… ! appsink",
        ),
        (
            'rtspsrc user-pw="a ! b" location="rtsp://u:p@h/1" ! appsink',
            'rtspsrc user-pw=… location="rtsp://h/1" ! appsink',
        ),
        ("rtsp://10.0.0.2:554/Streaming/Channels/101", "rtsp://10.0.0.2:554/Streaming/Channels/101"),
        ("/home/me/a@b:c.mp4", "/home/me/a@b:c.mp4"), ("clip of 2026.mp4", "clip of 2026.mp4"), ("0", "0"), ("-", "-"),
        ("usb-046d_HD_Pro_Webcam_C920-video-index0", "usb-046d_HD_Pro_Webcam_C920-video-index0"),
        ("videotestsrc pattern=ball ! appsink drop=true", "videotestsrc pattern=ball ! appsink drop=true"),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_its_secrets(address, shown):
    assert mask_address(address) == shown
    assert mask_address(shown) == shown


def test_other_text_keeps_its_meaning():
    for text in (
        "the camera stopped sending pictures: check the network",
        "/opt/rkface: disk full: 12 MB free, this release needs 50 MB",
        "must be KEY=VALUE, not 'room=3'",
        "ada@host is not a host",
        "https://github.com/example/project/issues/12",
        "g.sqlite is encrypted: use --key FILE, or set RKFACE_GALLERY_KEY=FILE in the environment",
        "give a name from /dev/v4l/by-id, rtsp://… or http://…, a video file",
        f"rtsp://… has no valid host or port; if it has a password: {ENCODE}",
    ):
        assert mask_secrets(text) == text
    said = mask_secrets(
        "[rtsp] cannot open 'rtsp://me:x@host/1?auth=y': 401; retry with Authorization: Bearer abcdefgh"
    )
    assert said == "[rtsp] cannot open 'rtsp://host/1?auth=…': 401; retry with Authorization: Bearer …"


plain = st.text(ascii_letters + digits, min_size=1, max_size=6)
odd = st.text(ascii_letters + digits + "@:/?#&;=%+ .!~$'\"[]\\éß＠\u202e", max_size=6)
schemes = st.sampled_from(
    ["rtsp://", "RTSP://", "rtsps://", "http://", "https://", "rtsp:/", "rtsp:///", "rtsp:\\\\", ""]
)
hosts = st.sampled_from(["127.0.0.1", "cam.local:554", "[fe80::1]", "[::1]:554", "cam-2", "kamera.straße.de"])
ends = st.sampled_from(["", "/", "/live", "/live?channel=1&subtype=0", "/a/b/c.sdp", "/Streaming/Channels/101"])
KEYS = """password Password PASS pwd psw pas token access_token key api_key apikey auth secret signature sig
X-Amz-Signature pw usr user pass%77ord loginpas session sid jwt"""
keys = st.sampled_from(KEYS.split())


@st.composite
def marked_addresses(draw):
    """An address with a password that contains ``MARK``, at one of the places where people write it."""
    scheme, host, end = draw(schemes), draw(hosts), draw(ends)
    password = draw(odd) + MARK + draw(odd)
    clear = draw(plain) + MARK + draw(plain)
    encoded = password
    for one in "%@/?#":
        encoded = encoded.replace(one, f"%{ord(one):02X}")
    value = draw(st.sampled_from([clear, f'"{draw(plain)} ! {clear}"', f"{draw(plain)} {clear}", f"{clear}@x"]))
    name = draw(st.sampled_from(["user-pw", "user-id", "proxy-pw", "password", "rtspsrc0::user-pw"]))
    full = scheme or "rtsp://"
    return draw(
        st.sampled_from(
            [
                f"{scheme}{draw(plain)}:{password}@{host}{end}",
                f"{scheme}{draw(plain)}:{encoded}@{host}{end}",
                f"{scheme}{draw(plain)}%3A{clear}%40{host}{end}",
                f"{full}{host}/live?channel=1&{draw(keys)}={clear}@{draw(plain)}&subtype=0",
                f"{full}{host}/user={draw(plain)}&{draw(keys)}={clear}&channel=1",
                f"rtspsrc {name}={value} location=rtsp://{host}/live latency=100 ! rtph264depay ! appsink",
                f'rtspsrc location="{full}{draw(plain)}:{clear}@{host}{end}" ! appsink',
            ]
        )
    )


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=500)
@given(marked_addresses())
def test_a_password_never_shows_up(address):
    assert MARK not in mask_address(address)
    assert mask_address(mask_address(address)) == mask_address(address)
    for name in named_cameras([address]):
        assert MARK not in name
    if "rtspsrc" not in address and ("//" in address or " " not in address):  # where such a text begins, nobody knows
        for error in (f"{address}", f"[tcp @ 0x55] cannot open {address}", f"'{address}': refused\nagain"):
            assert MARK not in mask_secrets(error)
    with pytest.raises(InputError) as refused:
        split_address(address, "the address", ("mqtt",))
    assert MARK not in str(refused.value)
    try:
        with open_camera(address) as camera:
            assert MARK not in f"{camera.state()} {camera.name}"
    except InputError as error:
        assert MARK not in str(error)


@settings(deadline=None, derandomize=True)
@given(st.text())
def test_any_text_can_be_masked(text):
    assert isinstance(mask_address(text) + mask_secrets(text), str)


@pytest.mark.parametrize(
    "text", ["a" * 60_000, "=" * 60_000, ":@" * 30_000, "a=" * 30_000, " " * 60_000, "rtsp://" * 9000]
)
def test_long_texts_are_masked_in_little_time(text):
    mask_address(text)
    mask_secrets(text)


@pytest.mark.parametrize(
    "url", ["http://[", "http://", "https://a b", "http://h:99999", "http://h:0", "ftp://h", "http://user:a/b@host"]
)
def test_an_address_that_cannot_be_used_is_refused(url):
    with pytest.raises(InputError):
        split_address(url, "the URL", ("http", "https"))


def test_a_line_may_contain_any_number_of_addresses():
    assert mask_secrets("rtsp://u:p@a <b> " + "http://b/ " * 5000).endswith("http://b/ " * 5000)
