import struct
import zlib

import cv2
import numpy as np
import pytest
from rkface.runtime.errors import InputError
from rkface.runtime.image import find_images, read_image

# Red above, blue below: shows a wrong turn and a wrong colour order at once.
PICTURE = np.zeros((40, 60, 3), np.uint8)
PICTURE[:20] = (0, 0, 255)
PICTURE[20:] = (255, 0, 0)


def close(image, expected):
    # JPEG and colour conversion move a flat colour by a few levels, never by 30.
    return image.shape == expected.shape and np.abs(image.astype(int) - expected).mean() < 30


def with_orientation(path, orientation):
    """Insert an EXIF segment with only the orientation tag (TIFF 6.0, tag 0x112) behind the JPEG's SOI."""
    jpeg = path.read_bytes()
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:])


def huge_png(side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_formats(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), PICTURE)
    assert close(read_image(path), PICTURE)


def test_grey_alpha_and_16_bit_become_three_8_bit_channels(tmp_path):
    grey = np.full((30, 30), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([PICTURE, np.full((40, 60), 128, np.uint8)]))
    cv2.imwrite(str(tmp_path / "deep.png"), PICTURE.astype(np.uint16) * 257)
    assert close(read_image(tmp_path / "grey.png"), np.dstack([grey] * 3))
    assert close(read_image(tmp_path / "alpha.png"), PICTURE)
    assert close(read_image(tmp_path / "deep.png"), PICTURE)


def test_rotated_photo_is_turned_as_a_person_sees_it(tmp_path):
    path = tmp_path / "phone.jpg"
    cv2.imwrite(str(path), PICTURE)
    with_orientation(path, 6)  # "rotate 90° clockwise to show"
    assert close(read_image(path), cv2.rotate(PICTURE, cv2.ROTATE_90_CLOCKWISE))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.jpg", b"", "empty"),
        ("page.jpg", b"<html>404</html>", "HTML"),
        ("notes.png", b"just text", "not a JPEG, PNG, WebP or BMP"),
        ("head.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "truncated"),
        ("head.png", b"\x89PNG\r\n\x1a\n\0\0", "truncated"),
        ("garbage.jpg", b"\xff\xd8\xff" + bytes(range(64)) * 20, "damaged|truncated"),
        ("huge.png", huge_png(20_000), "20000×20000"),
    ],
)
def test_bad_files_are_refused_with_their_name(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_image(tmp_path / "absent.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_truncated_photo_is_refused_not_half_decoded(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    whole = path.read_bytes()
    for share in (0.3, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match="truncated"):
            read_image(path)


def test_find_images_walks_sorted_and_leaves_hidden_out(tmp_path):
    for name in ("b.jpg", "a/c.PNG", ".cache/d.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == ["a/c.PNG", "b.jpg"]
    with pytest.raises(InputError, match="no such folder"):
        find_images(tmp_path / "absent")
