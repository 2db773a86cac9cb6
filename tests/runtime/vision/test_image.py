import base64
import os
import struct
import zlib

import cv2
import numpy as np
import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.vision.image import decode_reduced_frame, open_photo, read_image
from rkface.runtime.vision.photo_files import find_images

# Red above, blue below: shows a wrong turn and a wrong color order at once.
PICTURE = np.zeros((40, 60, 3), np.uint8)
PICTURE[:20] = (0, 0, 255)
PICTURE[20:] = (255, 0, 0)


def close(image, expected):
    # JPEG and color conversion change a flat color by a few levels, never by 30.
    return image.shape == expected.shape and np.abs(image.astype(int) - expected).mean() < 30


def with_orientation(path, orientation):
    """Insert an EXIF segment with only the orientation tag (TIFF 6.0, tag 0x112) after the JPEG's SOI."""
    jpeg = path.read_bytes()
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:])


# 24×16 pixels, red above and blue below, written by Pillow: OpenCV writes neither CMYK nor EXIF.
CMYK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwANCQoLCggNCwoLDg4NDxMgFRMSEhMnHB4XIC4pMTAuKS0sMzpKPjM2RjcsLUBXQUZMTlJTUjI+WmFaUGBK"
    "UVJP/8AAFAgAEAAYBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAAHCP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAOBEMATQBZAEsA"
    "AD8ApyYJgpwAAMxDToAAD//Z"
)
WEBP_WITH_ORIENTATION_6 = base64.b64decode(
    "UklGRloAAABXRUJQVlA4WAoAAAAIAAAAFwAADwAAVlA4TBkAAAAvF8ADAA8Q87//8x8OxIJJ/tK9Q4jof84xAEVYSUYaAAAATU0AKgAAAAgAAQES"
    "AAMAAAABAAYAAAAAAAA="
)
SMALL = PICTURE[10:26, :24].copy()
SMALL[:8], SMALL[8:] = (0, 0, 255), (255, 0, 0)


def huge_png(side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_all_formats_are_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), PICTURE)
    assert close(read_image(path), PICTURE)


def test_gray_alpha_and_16_bit_become_three_8_bit_channels(tmp_path):
    gray = np.full((30, 30), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([PICTURE, np.full((40, 60), 128, np.uint8)]))
    cv2.imwrite(str(tmp_path / "deep.png"), PICTURE.astype(np.uint16) * 257)
    assert close(read_image(tmp_path / "gray.png"), np.dstack([gray] * 3))
    assert close(read_image(tmp_path / "alpha.png"), PICTURE)
    assert close(read_image(tmp_path / "deep.png"), PICTURE)


def test_a_rotated_photo_is_turned_upright(tmp_path):
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


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_image(tmp_path / "absent.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_a_truncated_photo_is_refused(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    whole = path.read_bytes()
    for share in (0.3, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match="truncated"):
            read_image(path)


def test_find_images_sorts_by_path_and_skips_hidden_files(tmp_path):
    for name in ("b.jpg", "a/c.PNG", ".cache/d.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == ["a/c.PNG", "b.jpg"]
    with pytest.raises(InputError, match="no such folder"):
        find_images(tmp_path / "absent")


def test_a_cmyk_photo_becomes_bgr(tmp_path):
    (tmp_path / "print.jpg").write_bytes(CMYK_JPEG)
    assert close(read_image(tmp_path / "print.jpg"), SMALL)


def test_16_bit_gray_and_gray_with_alpha_are_read(tmp_path):
    gray = np.full((30, 30), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "deep.png"), gray.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "alpha.webp"), np.dstack([gray, gray, gray, gray // 2]))
    cv2.imwrite(str(tmp_path / "gray.jpg"), gray)
    for path in tmp_path.iterdir():
        assert close(read_image(path), np.dstack([gray] * 3)), path.name


# How each EXIF orientation stores a picture, from EXIF 2.3's table of where row 0 and column 0 belong.
STORED = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[::-1],
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: image.transpose(1, 0, 2)[:, ::-1],
    9: lambda image: image,  # not a valid orientation
}


@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_is_undone(tmp_path, orientation):
    picture = PICTURE.copy()
    picture[:, :20, 1] = 255  # not symmetric
    path = tmp_path / "phone.jpg"
    cv2.imwrite(str(path), np.ascontiguousarray(STORED[orientation](picture)))
    with_orientation(path, orientation)
    assert close(read_image(path), picture)


@pytest.mark.parametrize("orientation", STORED)
def test_the_full_size_of_a_reduced_picture_is_that_of_the_upright_one(tmp_path, orientation):
    """Also for a picture that becomes a square when it is reduced."""
    path = tmp_path / "camera.jpg"
    cv2.imwrite(str(path), np.ascontiguousarray(STORED[orientation](np.zeros((80, 79, 3), np.uint8))))
    with_orientation(path, orientation)
    image, full = decode_reduced_frame(path.read_bytes(), "camera", 40)
    assert image.shape == (40, 40, 3) and full == (79, 80)
    assert open_photo(path).header.upright_size == (79, 80)


def test_a_rotated_webp_is_turned_upright(tmp_path):
    (tmp_path / "a.webp").write_bytes(WEBP_WITH_ORIENTATION_6)
    assert close(read_image(tmp_path / "a.webp"), cv2.rotate(SMALL, cv2.ROTATE_90_CLOCKWISE))


def test_a_photo_with_damaged_exif_is_read(tmp_path):
    path = tmp_path / "phone.jpg"
    cv2.imwrite(str(path), PICTURE)
    with_orientation(path, 6)
    whole = path.read_bytes()
    at = whole.index(b"II*\0")
    path.write_bytes(whole[: at + 4] + b"\xff\xff\xff\x00" + whole[at + 8 :])  # the directory is beyond the end
    assert close(read_image(path), PICTURE)


def test_an_os2_bitmap_is_read(tmp_path):
    rows = np.ascontiguousarray(SMALL[::-1]).tobytes()  # rows of 24 pixels with three bytes need no padding
    head = struct.pack("<2sIII", b"BM", 26 + len(rows), 0, 26) + struct.pack("<IHHHH", 12, 24, 16, 1, 24)
    (tmp_path / "a.bmp").write_bytes(head + rows)
    assert (read_image(tmp_path / "a.bmp") == SMALL).all()


def test_a_truncated_bitmap_without_a_size_is_refused(tmp_path):
    path = tmp_path / "a.bmp"
    data = bytearray(cv2.imencode(".bmp", PICTURE)[1].tobytes())
    data[2:6] = bytes(4)
    path.write_bytes(data)
    assert close(read_image(path), PICTURE)
    path.write_bytes(data[:-500])
    with pytest.raises(InputError, match="truncated"):
        read_image(path)


def test_a_damaged_png_is_refused_without_a_message_of_libpng(tmp_path, capfd):
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    data = bytearray(cv2.imencode(".png", noise)[1].tobytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        read_image(path)
    assert capfd.readouterr().err == ""


def test_a_file_too_large_for_a_photo_is_not_read(tmp_path):
    path = tmp_path / "film.jpg"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 1 << 40)  # sparse: a terabyte that takes no space
    with pytest.raises(InputError, match="limit for a photo"):
        read_image(path)


@pytest.mark.slow
def test_damaged_files_are_read_or_refused_and_nothing_else_happens(tmp_path):
    random = np.random.default_rng(0)
    picture = cv2.GaussianBlur(random.integers(0, 255, (24, 32, 3), np.uint8), (0, 0), 2)
    path = tmp_path / "spoilt"
    outcomes = {"read": 0, "refused": 0}
    for suffix, options in (
        (".jpg", []),
        (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".png", []),
        (".bmp", []),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80]),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    ):
        whole = cv2.imencode(suffix, picture, options)[1].tobytes()
        for round in range(240):
            data = bytearray(whole)
            if round % 3 == 0:
                del data[random.integers(len(data)) :]
            elif round % 3 == 1:  # in the header, or anywhere
                for _ in range(random.integers(1, 6)):
                    data[random.integers(min(64, len(data)) if round % 2 else len(data))] = random.integers(256)
            else:
                start, stop = sorted(random.integers(0, len(data), 2))
                del data[start:stop]
            path.write_bytes(data)
            try:
                image = read_image(path)
            except InputError:
                outcomes["refused"] += 1
            else:
                assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
                outcomes["read"] += 1
    assert min(outcomes.values()) > 50
