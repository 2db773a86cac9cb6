"""`rkface hub search` and `rkface hub index`, from a photo to sentences."""

import json

import cv2
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.gallery.people import Sample, embedding_identity
from rkface.runtime.hub.boards import add_site
from rkface.runtime.hub.people import add_person
from rkface.runtime.inference.open_bundle import open_bundle

from ..conftest import scene


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "visitor.png"
    assert cv2.imwrite(str(path), scene((0, 3)))
    return path


@pytest.fixture
def ada(hub, bundle):
    """Ada, from the face of ``photo``, at the north site; Bob looks like the other face of the tiny bundle."""
    with open_bundle(bundle, "reference") as pipeline:
        found = [pipeline.recognize_photo(scene((person, 3))).faces.embeddings[0] for person in (0, 1)]
        identity = embedding_identity(pipeline.manifest)
    add_site(hub, "north")
    add_site(hub, "south")
    for name, site, embedding in zip(("Ada", "Bob"), ("north", "south"), found, strict=True):
        add_person(hub, name, [site], [Sample(embedding, None, 0.9, "photo.png", identity=identity)], identity)
    return hub


@pytest.fixture
def run(database, monkeypatch, bundle, capsys):
    """Runs `rkface hub …`; returns the exit code and what it prints."""
    monkeypatch.setenv("RKFACE_HUB", database)

    def call(*arguments):
        code = main(["hub", *(str(one) for one in arguments)])
        return code, capsys.readouterr()

    return call


def test_a_photo_is_answered_with_names_cosines_and_sites(ada, run, bundle, photo):
    code, said = run("search", photo, "--bundle", bundle, "--backend", "reference")
    assert code == 0
    lines = said.out.splitlines()
    assert "same person: Ada; known at north" in lines[1] and lines[1].split()[0] == "1.0000"
    assert "Bob" in lines[2] and lines[-1].startswith("threshold ")
    code, said = run("search", photo, "--bundle", bundle, "--backend", "reference", "--json", "--top", 1)
    (face,) = json.loads(said.out)["faces"]
    assert [(one["name"], one["sites"], one["same"]) for one in face["matches"]] == [("Ada", ["north"], True)]


def test_people_of_other_sites_are_left_out(ada, run, bundle, photo):
    code, said = run("search", photo, "--bundle", bundle, "--backend", "reference", "--site", "south")
    assert code == 0 and "Ada" not in said.out and "unknown: the highest cosine is" in said.err
    code, said = run("search", photo, "--bundle", bundle, "--backend", "reference", "--site", "east")
    assert code == 2 and "no site 'east'" in said.err


def test_a_bundle_with_another_recognizer_is_refused(hub, run, bundle, photo):
    hub.execute("INSERT INTO rkface.setting VALUES ('identity', %s)", ["0" * 32])
    code, said = run("search", photo, "--bundle", bundle, "--backend", "reference")
    assert code == 2 and "embeddings of another model" in said.err


def test_an_empty_hub_is_said_to_be_empty(hub, run, bundle, photo):
    code, said = run("search", photo, "--bundle", bundle, "--backend", "reference")
    assert code == 0 and "the hub has no embeddings: enroll people first" in said.err
    code, said = run("index")
    assert code == 2 and "no embeddings" in said.err


def test_the_index_is_built(ada, run):
    code, said = run("index")
    assert code == 0 and "the index is ready" in said.out and "2 samples" in said.err
