"""`rkface convert --max-drop` and `--people` from the command line."""

import json
import shutil

import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.core.bundle import read_bundle

from .conftest import ONE_SHAPE, OWN, copy_photos


@pytest.fixture
def photos(tmp_path):
    """A folder of photos without content, for errors that come before any photo is read."""
    for name in ("photos/ada/1.jpg", "photos/ada/2.jpg", "one/ada/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "few.csv").write_text("a,b,same\n" + "a.jpg,b.jpg,Yes\n" * 30 + "a.jpg,c.jpg,No\n" * 300)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--max-drop eer=1", "also give --people, a folder with a subfolder for each person, or --pairs"),
        ("--max-drop eer=1 --min-cosine 0.99", "--max-drop and --min-cosine both decide"),
        ("--max-drop eer=1 --pairs {}/few.csv", "30 pairs of one person, and one of them is 3.33 percentage points"),
        ("--max-drop tar@1e-3=5 --pairs {}/few.csv", "needs at least 1,000 pairs of different people, but"),
        ("--max-drop tar@1e-3=5 --pairs {}/few.csv", "ask for tar@0.01=5 instead, or label more pairs"),
        ("--people {}/one", "has photos of 1 people, but at least two are needed"),
        ("--people {}/absent", "there is no such folder of photos"),
        ("--evaluation {}/absent", "there is no such folder of photos"),
        ("--pairs {}/absent.csv", "absent.csv: "),
        ("--people {}/photos --pairs {}/few.csv", "--people and --pairs both say who is on the photos"),
        ("--people {}/photos --evaluation {}/photos", "--people and --evaluation both name the photos to evaluate on"),
    ],
)
def test_wrong_combinations_are_refused_before_any_work(photos, capsys, options, says):
    given = [one.replace("{}", str(photos)) for one in options.split()]
    arguments = ["convert", *OWN, "--calibration", str(photos / "photos"), "--out", str(photos / "out"), *given]
    assert main(arguments) == 2
    assert says in capsys.readouterr().err
    assert not (photos / "out.work").exists()


def test_the_demo_pack_has_its_own_labels(photos, capsys):
    assert main(["convert", "--people", str(photos / "photos"), "--out", str(photos / "out")]) == 2
    assert "need --calibration; the demo pack renders its own photos, with labels" in capsys.readouterr().err


@pytest.fixture(scope="module")
def by_figure(converted, tmp_path_factory):
    """A conversion of the demo pack by two figures, on the folders of 20 rendered people."""
    folder = tmp_path_factory.mktemp("by-figure")
    for photo in (converted.work / "photos/evaluation").glob("person-00[01]?-*.jpg"):
        person = folder / "people" / photo.name[:11]
        person.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, person)
    photos = copy_photos(converted.work / "photos/calibration", folder / "photos")
    done = main(["convert", *ONE_SHAPE, "--recipe", "fast", "--max-drop", "tar@1e-2=20,eer=5",
                 "--out", str(folder / "bundle"),
                 "--work", str(folder / "work"), "--people", str(folder / "people"),
                 "--calibration", str(photos)])  # fmt: skip
    assert done == 0
    return folder / "bundle"


def test_the_bundle_records_the_figures_and_that_they_decided(by_figure):
    provenance = read_bundle(by_figure).manifest.provenance
    assert provenance["accuracy_bar"] == {"max_drop": ["tar@0.01=20", "eer=5"]}
    tar, eer = provenance["parity"]["drops"]
    assert (tar["figure"], tar["allowed"], eer["figure"], eer["allowed"]) == ("tar@0.01", 20.0, "eer", 5.0)
    assert 50 < tar["same"] <= 60 and 1500 < tar["different"] <= 1710 and tar["people"] == 20
    assert tar["drop"]["value"] == pytest.approx(100 * (tar["reference"] - tar["quantized"]))
    assert tar["drop"]["low"] <= tar["drop"]["value"] <= tar["drop"]["high"] <= 20
    assert json.loads((by_figure / "report.json").read_text())["parity"]["drops"][0]["figure"] == "tar@0.01"
    html = (by_figure / "report.html").read_text()
    assert "Your own figures decide: TAR at FAR 0.01" in html and "These figures decide (--max-drop)" in html
    assert "required of" not in html, "no cosine was required"


def test_the_usual_bar_is_recorded_too(converted):
    assert read_bundle(converted.bundle).manifest.provenance["accuracy_bar"]["mean"] == 0.995
