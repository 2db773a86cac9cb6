"""Photos made to crash a decoder, or to make it take all memory or time. Each costs only itself."""

import os
import re
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.core import files
from rkface.runtime.core.errors import InputError, RkfaceError, WorkError
from rkface.runtime.vision import decoder
from rkface.runtime.vision.image import decode_frame, decode_image, read_image
from rkface.runtime.vision.image_formats import parse_header
from rkface.runtime.vision.image_header import Header, TruncatedImageError

PICTURE = np.kron(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), np.ones((4, 4, 1), np.uint8))


def encode(suffix, image=PICTURE, *options):
    return cv2.imencode(suffix, image, options)[1].tobytes()


def segment(marker, body=b""):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def frame_header(width, height, kind=0xC0):
    return segment(kind, struct.pack(">BHHB", 8, height, width, 3) + b"\1\x22\0\2\x11\1\3\x11\1")


def chunk(kind, body=b""):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def riff(*chunks):
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(one)) + one + bytes(len(one) % 2) for kind, one in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def png_chunks(data):
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def animated_png(cut=None):
    """An animation of two frames whose image data ends after ``cut`` bytes."""
    control = struct.pack(">IIIIIHHBB", 0, 32, 24, 0, 0, 1, 10, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in png_chunks(encode(".png")):
        if kind == b"IDAT":
            parts += [chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", control), chunk(b"IDAT", body[:cut])]
            parts.append(chunk(b"fcTL", struct.pack(">I", 1) + control[4:]))
            parts.append(chunk(b"fdAT", struct.pack(">I", 2) + (body if cut is None else b"\xff" * 40)))
        else:
            parts.append(chunk(kind, body))
    return b"".join(parts)


def test_an_animated_png_with_cut_data_is_refused_and_a_whole_one_is_read():
    with pytest.raises(InputError, match="damaged"):
        decode_image(animated_png(cut=20), "a.png")
    assert (decode_image(animated_png(), "a.png") == PICTURE).all()
    content = parse_header(animated_png()).content
    assert {kind for kind, _ in png_chunks(content)} == {b"IHDR", b"IDAT", b"IEND"}


def test_the_decoder_gets_no_metadata():
    data = encode(".jpg")
    comment = segment(0xE1, b"Exif\0\0" + bytes(3000)) + segment(0xE2, bytes(3000)) + segment(0xFE, b"hello")
    with_more = data[:2] + comment + data[2:] + b"appended"
    assert (decode_image(with_more, "a.jpg") == decode_image(data, "a.jpg")).all()
    assert len(parse_header(with_more).content) <= len(data)


HIDDEN = frame_header(65000, 16000)


@pytest.mark.parametrize(
    "cover",
    [
        b"\xff\x01" + HIDDEN,  # a marker without a length: what follows it is the next marker
        b"\xff\xd3" + HIDDEN,
        b"\xff\xd0\xff\xd1\xff\xd7" + HIDDEN,
        b"\xff\xff\xff\xff" + HIDDEN[1:],  # fill bytes
        b"garbage" + HIDDEN,  # the decoder skips what is no marker
        b"\0\xff\0" + HIDDEN,
        segment(0xFE, b"\xff\xd9") + HIDDEN,
        segment(0xE0, frame_header(10, 10)) + HIDDEN,  # the small size is only that of a thumbnail
        segment(0xDC, b"\0\x10") + HIDDEN,
    ],
)
@pytest.mark.parametrize("read", [decode_image, decode_frame])
def test_a_size_that_is_hidden_from_a_naive_reader_is_found(cover, read):
    data = encode(".jpg")
    first = 4 + int.from_bytes(data[4:6], "big")  # the end of the first segment
    start = data.index(b"\xff\xc0")
    with pytest.raises(InputError, match="65000×16000"):
        read(data[:first] + cover + data[first:start] + data[start + 19 :], "a.jpg")


def test_fill_bytes_before_a_marker_cost_no_time():
    before = time.process_time()
    with pytest.raises(TruncatedImageError):
        parse_header(b"\xff\xd8" + b"\xff" * (24 << 20))
    assert time.process_time() - before < 1


def test_a_second_size_is_refused():
    data = encode(".jpg")
    start = data.index(b"\xff\xc0")
    end = data.index(b"\xff\xda")
    for at in (start, end):
        for read in (decode_image, decode_frame):
            with pytest.raises(InputError, match="damaged"):
                read(data[:at] + frame_header(65000, 16000) + frame_header(20, 20) * (at == end) + data[at:], "a.jpg")


def test_other_codings_and_too_many_scans_are_refused():
    data = encode(".jpg")
    for kind in (0xC3, 0xC5, 0xC9, 0xCB, 0xCF):
        with pytest.raises(InputError, match="save it as an ordinary JPEG"):
            decode_image(data.replace(b"\xff\xc0", bytes([0xFF, kind])), "a.jpg")
    progressive = encode(".jpg", PICTURE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    with pytest.raises(InputError, match="damaged"):
        decode_image(progressive[:-2] + scan * 200 + b"\xff\xd9", "a.jpg")


def test_a_png_must_begin_with_its_only_header():
    kinds = png_chunks(encode(".png"))
    header = chunk(*kinds[0])
    large = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    rest = b"".join(chunk(kind, body) for kind, body in kinds[1:])
    for parts in (header + large, large + header, chunk(b"CgBI", bytes(4)) + header, header + chunk(b"ABCD"), rest):
        with pytest.raises(InputError, match="damaged"):
            decode_image(b"\x89PNG\r\n\x1a\n" + parts + rest, "a.png")


def test_a_webp_is_as_large_as_its_image_and_not_as_its_canvas():
    lossy, lossless = (encode(".webp", PICTURE, cv2.IMWRITE_WEBP_QUALITY, quality) for quality in (80, 101))
    for data in (lossy, lossless):
        kind, body = data[12:16], data[20 : 20 + struct.unpack_from("<I", data, 16)[0]]
        small = b"\0\0\0\0" + (9).to_bytes(3, "little") * 2
        with pytest.raises(InputError, match="differ in size"):
            decode_image(riff((b"VP8X", small), (kind, body)), "a.webp")
        frame = bytes(6) + (31).to_bytes(3, "little") + (23).to_bytes(3, "little") + bytes(4)
        inner = kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
        animation = riff((b"VP8X", b"\2" + small[1:]), (b"ANIM", bytes(6)), (b"ANMF", frame + inner))
        assert (decode_image(animation, "a.webp") == decode_image(data, "a.webp")).all()


@pytest.mark.parametrize(
    ("at", "value"),
    [(18, -5), (18, 0), (22, 0), (22, -(2**31)), (28, 7), (30, 1), (30, 9), (14, 39), (18, 2**30), (46, 2**31 - 1)],
)
def test_a_bitmap_with_impossible_numbers_is_refused_or_read(at, value):
    data = bytearray(encode(".bmp"))
    data[at : at + 4] = struct.pack("<i", value)
    with suppress(InputError):
        assert decode_image(bytes(data), "a.bmp").shape == PICTURE.shape


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGFPE, signal.SIGKILL])
def test_a_crash_costs_one_photo(monkeypatch, how):
    decode_image(encode(".png"), "first.png")
    worker = decoder._idle[-1]
    header = parse_header(encode(".png"))
    os.kill(worker._process.pid, signal.SIGSTOP)  # it is busy when it crashes
    outcome = []
    reading = threading.Thread(target=lambda: outcome.append(_message(lambda: decoder.decode(header))))
    reading.start()
    os.kill(worker._process.pid, how)
    os.kill(worker._process.pid, signal.SIGCONT)
    reading.join()
    assert how.name in outcome[0] or outcome[0] == "read"  # it had ended before: a new one was started
    assert (decode_image(encode(".png"), "next.png") == PICTURE).all()
    assert worker._process.returncode is not None, "no zombie stays"


def _message(call):
    try:
        call()
    except Exception as error:
        return str(error)
    return "read"


def test_a_decoder_that_allocates_more_than_the_header_says_is_stopped():
    parts = struct.pack(">IIBBBBB", 9000, 9000, 1, 0, 0, 0, 0), zlib.compress(bytes(1126 * 9000))
    wide = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", parts[0]) + chunk(b"IDAT", parts[1]) + chunk(b"IEND")
    with pytest.raises(decoder.DecodeError, match=r"more memory"):
        decoder.decode(Header(8, 8, wide, "PNG"))
    with pytest.raises(decoder.DecodeError, match="header does not say"):
        decoder.decode(Header(8, 8, encode(".png"), "PNG"))
    assert (decode_image(encode(".png"), "next.png") == PICTURE).all()


def test_a_decoder_that_never_ends_is_ended(monkeypatch):
    decode_image(encode(".png"), "first.png")
    os.kill(decoder._idle[-1]._process.pid, signal.SIGSTOP)
    monkeypatch.setattr(decoder, "seconds_for", lambda *_: 0.001)
    with pytest.raises(InputError, match="takes too long"):
        decode_image(encode(".png"), "slow.png")
    monkeypatch.undo()
    assert (decode_image(encode(".png"), "next.png") == PICTURE).all()


def test_photos_of_many_threads_are_decoded():
    expected, failures = encode(".png"), []

    def read_some():
        for _ in range(10):
            if not (decode_image(expected, "a.png") == PICTURE).all():
                failures.append(1)
            if "damaged" not in _message(lambda: decode_image(animated_png(cut=20), "b.png")):
                failures.append(2)

    threads = [threading.Thread(target=read_some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(decoder._idle) <= decoder.PROCESSES


OPEN_FILES = """
import os, sys, threading
from rkface.runtime.core.errors import InputError
from rkface.runtime.vision import decoder
from rkface.runtime.vision.image import read_image

def read_some():
    for _ in range(10):
        read_image(sys.argv[1])
        try:
            read_image(sys.argv[2])
        except InputError:
            pass
    done.append(1)

done, before = [], len(os.listdir("/proc/self/fd"))
threads = [threading.Thread(target=read_some) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
decoder.close_decoder()
print(len(done), len(os.listdir("/proc/self/fd")) - before)
"""


def test_no_file_stays_open_after_photos_of_many_threads(tmp_path):
    """In a process of its own: here, other tests leave files that are closed only when their garbage is collected."""
    (tmp_path / "a.png").write_bytes(encode(".png"))
    (tmp_path / "b.png").write_bytes(animated_png(cut=20))
    command = [sys.executable, "-c", OPEN_FILES, "a.png", "b.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8", "0"]


SCRIPT = """
import os, sys
from rkface.runtime.vision import decoder
from rkface.runtime.vision.image import read_image
print(read_image(sys.argv[1]).shape, decoder._idle[0]._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kill", [False, True])
def test_the_process_ends_with_its_parent(tmp_path, kill):
    (tmp_path / "a.png").write_bytes(encode(".png"))
    (tmp_path / "numpy.py").write_text("raise SystemExit('a file of the user was imported')")
    code = f"import sys; sys.path[:] = {[folder for folder in sys.path if folder]!r}{SCRIPT}"
    with subprocess.Popen(
        [sys.executable, "-c", code, "a.png"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline().split()[-1])
        alive = os.pidfd_open(pid)
        if kill:
            parent.kill()
        parent.stdin.close()
        parent.wait()
    assert select.select([alive], [], [], 60)[0], "the process that decodes photos is still there"
    os.close(alive)


def test_a_fork_uses_a_process_of_its_own():
    decode_image(encode(".png"), "a.png")
    child = os.fork()
    if child == 0:
        ok = not decoder._idle and (decode_image(encode(".png"), "a.png") == PICTURE).all()
        decoder.close_decoder()
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (decode_image(encode(".png"), "a.png") == PICTURE).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "says"),
    [*((f"resource.RLIMIT_AS, ({size} << 20, {size} << 20)", "memory|does not start") for size in range(200, 500, 50)),
     ("resource.RLIMIT_NOFILE, (3, 3)", "too many files")],
)  # fmt: skip
def test_a_limit_of_the_user_is_named(tmp_path, limit, says):
    photo = tmp_path / "a.png"
    photo.write_bytes(encode(".png", np.zeros((5000, 6000, 3), np.uint8)))
    code = (
        "import resource, sys\nfrom rkface.runtime.vision.image import read_image\n"
        "from rkface.runtime.core.errors import RkfaceError\n"
        f"photo = sys.argv[1]\ndata = open(photo, 'rb').read()\nresource.setrlimit({limit})\n"
        "from rkface.runtime.vision.image import decode_image\n"
        "try:\n    decode_image(data, photo)\nexcept RkfaceError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, photo], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert re.search(says, done.stdout), done.stdout


def test_a_process_that_cannot_start_is_an_error_with_its_reason(monkeypatch, tmp_path):
    decoder.close_decoder()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(WorkError, match="no-python"):
        decode_image(encode(".png"), "a.png")
    monkeypatch.setattr(decoder, "_folder_of", lambda _: tmp_path)
    monkeypatch.setattr(sys, "executable", os.path.realpath("/proc/self/exe"))
    with pytest.raises(WorkError, match=r"does not start: .*(cv2|numpy)"):
        decode_image(encode(".png"), "a.png")


def test_devices_folders_and_pipes(monkeypatch, tmp_path):
    for device in ("/dev/zero", "/dev/null", "/dev/urandom"):
        with pytest.raises(InputError, match="is a device, not a file"):
            read_image(device)
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    monkeypatch.setattr(files, "PIPE_SECONDS", 0.0)
    with pytest.raises(InputError, match="nobody has written"):
        read_image(pipe)
    monkeypatch.undo()
    reader, writer = os.pipe()
    os.write(writer, encode(".png"))
    os.close(writer)
    assert (read_image(f"/dev/fd/{reader}") == PICTURE).all()
    os.close(reader)


SEEDS = [
    encode(".jpg"), encode(".jpg", PICTURE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), encode(".png"), encode(".bmp"),
    encode(".webp", PICTURE, cv2.IMWRITE_WEBP_QUALITY, 80), encode(".webp", PICTURE, cv2.IMWRITE_WEBP_QUALITY, 101),
    animated_png(),
]  # fmt: skip


@pytest.mark.slow
@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6)), max_size=4), st.booleans())
def test_any_bytes_are_an_image_within_the_limits_or_refused(seed, changes, insert):
    data = bytearray(seed)
    for where, piece in changes:
        at = int(where * len(data))
        data[at : at if insert else at + len(piece)] = piece
    try:
        found = decode_image(bytes(data), "any", 1_000_000)
    except RkfaceError as error:
        assert isinstance(error, InputError)
    else:
        assert found.ndim == 3 and found.shape[2] == 3 and found.dtype == np.uint8
        assert 0 < found.shape[0] * found.shape[1] <= 1_000_000


def test_heic_is_read_or_names_the_extra(monkeypatch, tmp_path):
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    boxes = struct.pack(">I4s", 20, b"ispe") + struct.pack(">III", 0, 64, 48)
    for kind, head in ((b"ipco", b""), (b"iprp", b""), (b"meta", bytes(4))):
        boxes = struct.pack(">I4s", 8 + len(head) + len(boxes), kind) + head + boxes
    monkeypatch.setattr(decoder, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"a.heic: .*pip install 'rkface\[heif\]'"):
        decode_image(data + boxes, "a.heic")
    with pytest.raises(InputError, match="64×48"):
        decode_image(data + boxes, "a.heic", 1000)
    monkeypatch.undo()
    pillow_heif = pytest.importorskip("pillow_heif")
    with pytest.raises(InputError, match="damaged"):
        decode_image(data + boxes, "a.heic")
    photo = tmp_path / "a.heic"
    large = cv2.resize(PICTURE, (320, 240), interpolation=cv2.INTER_CUBIC)
    pillow_heif.from_bytes("BGR", (320, 240), large.tobytes()).save(photo, quality=95)
    found = read_image(photo)
    assert found.shape == large.shape and np.abs(found.astype(int) - large).mean() < 12
