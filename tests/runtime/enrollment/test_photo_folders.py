"""Which people and photos a folder has."""

import os

import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.enrollment.photo_folders import find_photos
from rkface.runtime.vision.photo_files import count_left_out, find_images, list_photos


def fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photo")
    return folder


def people(folder, nested="ask"):
    """Person → photos, without those that are not read."""
    found = {}
    for photo in find_photos(folder, nested):
        if not photo.problem:
            found.setdefault(photo.person, []).append(photo.path.relative_to(folder).as_posix())
    return found


def test_folders_of_systems_are_no_people(tmp_path):
    junk = (
        "@eaDir/ada.jpg/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/ada/._1.jpg", ".AppleDouble/ada.jpg", ".thumbnails/1.jpg",
        "$RECYCLE.BIN/1.jpg", "System Volume Information/1.jpg", "lost+found/1.jpg", "#recycle/1.jpg",
        "#snapshot/Ada/1.jpg", "Ada/@eaDir/1.jpg/thumb.jpg", "Ada/._1.jpg", "Ada/.@__thumb/1.jpg", "Thumbs.db",
        "desktop.ini", "Ada/Thumbs.db", "~tmp/1.jpg", "Ada/notes.txt",
    )  # fmt: skip
    fill(tmp_path, "Ada/1.jpg", "Ada/2.JPEG", "bob-2.png", *junk)
    assert people(tmp_path) == {"Ada": ["Ada/1.jpg", "Ada/2.JPEG"], "bob": ["bob-2.png"]}
    assert list_photos(tmp_path).left_out == ()


@pytest.mark.parametrize(
    "names",
    [
        ["Engineering/one/1.jpg", "Engineering/other/2.jpg"],
        ["Engineering/one/1.jpg"],
        ["Engineering/1.jpg", "Engineering/one/1.jpg", "Engineering/other/2.jpg"],
        ["Ada/1.jpg", "Site A/Engineering/one/1.jpg", "Site A/Engineering/other/1.jpg"],
        ["Engineering/one/1.heic", "Engineering/other/2.heic", "Ada/1.jpg"],
    ],
)
def test_a_folder_of_folders_is_not_taken_for_one_person(tmp_path, names):
    fill(tmp_path, *names)
    with pytest.raises(InputError, match=r"--nested group.*--nested person.*Nothing was enrolled"):
        find_photos(tmp_path)


def test_nested_folders_are_groups_or_people(tmp_path):
    names = ["Ada/1.jpg", "Engineering/one/1.jpg", "Engineering/other/2.jpg", "Engineering/lead-1.jpg", "bob.jpg"]
    fill(tmp_path, *names)
    assert set(people(tmp_path, "group")) == {"Ada", "one", "other", "lead", "bob"}
    assert set(people(tmp_path, "person")) == {"Ada", "Engineering", "bob"}
    fill(tmp_path, "Site/Sales/three/1.jpg")
    assert set(people(tmp_path, "group")) == {"Ada", "one", "other", "lead", "bob", "three"}
    assert people(tmp_path / "Ada", "group") == {"1": ["1.jpg"]}


def test_one_folder_of_older_photos_belongs_to_its_person(tmp_path):
    fill(tmp_path, "Ada/1.jpg", "Ada/old/2.jpg", "Ada/old/older/3.jpg")
    assert people(tmp_path) == {"Ada": ["Ada/1.jpg", "Ada/old/2.jpg", "Ada/old/older/3.jpg"]}


def test_people_of_the_same_name_in_two_groups_are_not_joined(tmp_path):
    fill(tmp_path, "Engineering/Jos\u00e9/1.jpg", "Engineering/x/1.jpg", "Sales/Jose\u0301/1.jpg", "Sales/y/1.jpg")
    with pytest.raises(InputError, match="rename one"):
        find_photos(tmp_path, "group")


def test_pictures_that_are_not_read_are_named_with_their_people(tmp_path):
    fill(tmp_path, "Ada/1.jpg", "Ada/2.TIFF", "Bob/1.gif", "Bob/all.zip", "carol.avif", "Ada/3.cr2", "Ada/1.CR2")
    os.mkfifo(tmp_path / "Ada/pipe.jpg")
    (tmp_path / "Ada/gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    (tmp_path / "Ada/circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "Ada/zero.jpg").symlink_to("/dev/zero")
    left = {photo.path.name: (photo.person, photo.problem) for photo in find_photos(tmp_path) if photo.problem}
    assert left.keys() == {
        "2.TIFF",
        "1.gif",
        "all.zip",
        "carol.avif",
        "3.cr2",
        "pipe.jpg",
        "gone.jpg",
        "circle.jpg",
        "zero.jpg",
    }
    assert "leads nowhere" in left["gone.jpg"][1] and "leads nowhere" in left["circle.jpg"][1]
    assert "not a regular file" in left["zero.jpg"][1] and "not a regular file" in left["pipe.jpg"][1]
    assert left["2.TIFF"][0] == "Ada" and "save it as JPEG" in left["2.TIFF"][1]
    assert left["carol.avif"][0] == "carol" and "unpack" in left["all.zip"][1] and "raw file" in left["3.cr2"][1]
    sentence = count_left_out(list_photos(tmp_path).left_out)
    assert "4 .jpg" in sentence and "1 .gif" in sentence


def test_a_folder_without_readable_photos_says_what_it_has(tmp_path):
    fill(tmp_path, "Ada/1.tif", "Ada/2.tif")
    with pytest.raises(InputError, match=r"no photos.*2 \.tif.*save it as JPEG"):
        find_photos(tmp_path)


def test_links_are_followed_once(tmp_path):
    fill(tmp_path, "staff/Ada/1.jpg", "elsewhere/1.jpg")
    staff = tmp_path / "staff"
    (staff / "Bob").symlink_to(tmp_path / "elsewhere")
    (staff / "Ada/again").symlink_to(staff)  # a loop
    (staff / "Aaron").symlink_to(staff / "Ada")
    assert people(staff) == {"Ada": ["Ada/1.jpg"], "Bob": ["Bob/1.jpg"]}
    assert len(find_images(staff)) == 2


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    fill(tmp_path, "Ada/1.jpg", "Bob/1.jpg")
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("Bob"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    [bob] = [photo for photo in find_photos(tmp_path) if photo.problem]
    assert (bob.person, bob.problem) == ("Bob", "the folder cannot be read: Permission denied")
