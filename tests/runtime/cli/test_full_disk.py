"""Files that cannot be written: the message names the file and what helps, and no part of a file is left."""

import contextlib
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample


@pytest.fixture
def gallery(tmp_path):
    path = tmp_path / "gallery.sqlite"
    with Gallery(path, "0" * 32, create=True) as gallery:
        gallery.add("Ada", [Sample(np.eye(8, dtype=np.float32)[0], None, 0.9, "a.jpg")])
    return path


@pytest.fixture
def full(tmp_path):
    """A folder on a disk that is full."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", folder]
    if os.getuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root may mount a small tmpfs")
    (folder / "fill").write_bytes(bytes(400 * 1024))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("action", ["export --out", "export --csv --out", "backup", "encrypt --key"])
def test_a_full_disk_is_said_of_the_file_on_it_and_nothing_is_left_there(gallery, full, capsys, action):
    assert main(["gallery", *action.split(), str(full / "new"), "--gallery", str(gallery)]) == 1
    out, err = capsys.readouterr()
    assert re.search(rf"{full}/new: .*(disk is full|No space left on device).*: free some space", err) and out == ""
    assert [path.name for path in full.iterdir()] == ["fill"]
    assert main(["gallery", "list", "--gallery", str(gallery)]) == 0


@pytest.mark.parametrize(
    "action", ["rename Ada Grace", "list", "backup", "check", "forget --yes Ada", "restore BACKUP"]
)
def test_a_gallery_on_a_full_disk_is_not_called_damaged_and_is_kept(gallery, full, capsys, action):
    (full / "fill").unlink()
    shutil.copy(gallery, own := full / "gallery.sqlite")
    content = own.read_bytes()
    with (full / "fill").open("wb", buffering=0) as fill, contextlib.suppress(OSError):
        while True:
            fill.write(bytes(4096))
    words = [str(gallery) if word == "BACKUP" else word for word in action.split()]
    assert main(["gallery", *words, "--gallery", str(own)]) == 1
    err = capsys.readouterr().err
    assert (
        re.search(rf"{full}[^:]*: the disk is full; nothing was changed: free some space", err) and "damaged" not in err
    )
    assert own.read_bytes() == content and not list(full.glob("*damaged*"))
    (full / "fill").unlink()
    assert main(["gallery", "check", "--gallery", str(own)]) == 0


def test_a_service_on_a_full_disk_says_which_file_cannot_be_written(bundle, full, capsys):
    command = ["run", "--bundle", str(bundle), "--gallery", str(full / "gallery.sqlite"), "--camera", "/dev/video77"]
    assert main(command) == 1
    assert f"rkface: {full}/" in (err := capsys.readouterr().err) and "No space left on device: free some space" in err


def test_an_export_that_is_interrupted_leaves_no_file(gallery, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Gallery, "samples", interrupt)
    assert main(["gallery", "export", "--out", str(tmp_path / "out"), "--gallery", str(gallery)]) == 130
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_an_export_replaces_no_file_that_another_program_makes_meanwhile(gallery, tmp_path, monkeypatch, capsys):
    out, samples = tmp_path / "out", Gallery.samples

    def make_file(*arguments):
        out.write_text("of another program")
        return samples(*arguments)

    monkeypatch.setattr(Gallery, "samples", make_file)
    assert main(["gallery", "export", "--out", str(out), "--gallery", str(gallery)]) == 2
    assert "File exists: name a new file" in capsys.readouterr().err and out.read_text() == "of another program"
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]


@pytest.mark.parametrize(
    "command",
    [
        "gallery export --out NEW --gallery GALLERY",
        "gallery backup NEW --gallery GALLERY",
        "embed --bundle BUNDLE photo.png --out NEW",
        "detect --bundle BUNDLE photo.png --draw NEW.png",
        "bench --bundle BUNDLE --out NEW",
        "doctor --report NEW",
    ],
)
def test_a_file_in_a_folder_that_does_not_exist_is_wrong_use(gallery, bundle, tmp_path, capsys, command):
    missing = tmp_path / "missing"
    words = {"NEW": missing / "new", "NEW.png": missing / "new.png", "GALLERY": gallery, "BUNDLE": bundle}
    assert main([str(words.get(word, word)) for word in command.split()]) == 2
    assert f"there is no folder {missing}: create it, or choose another place" in capsys.readouterr().err
    assert not missing.exists()


def test_a_folder_in_place_of_a_file_is_named(gallery, tmp_path, capsys):
    assert main(["gallery", "import", str(tmp_path), "--gallery", str(gallery)]) == 2
    assert f"{tmp_path} is a folder: name a file" in capsys.readouterr().err
    assert main(["gallery", "import", os.devnull, "--gallery", str(gallery)]) == 2
    assert f"{os.devnull} is not a regular file" in capsys.readouterr().err
    assert main(["doctor", "--report", str(tmp_path)]) == 2
    assert f"--report {tmp_path} is a folder" in capsys.readouterr().err
