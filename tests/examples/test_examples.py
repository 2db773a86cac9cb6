"""Every example runs, on rendered people, and says what its first lines promise."""

import ast
import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import pytest

from .conftest import CAMERA, RATE, ROOT, SECONDS, run_example, start_example

EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py"))
NOTEBOOK = EXAMPLES / "face_similarity.ipynb"
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture
def party(tmp_path):
    """A photo of Bela and Chike."""
    path = tmp_path / "party.png"
    cv2.imwrite(str(path), CAMERA.render(9.9).image)
    return path


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_says_what_the_example_does_and_how_to_run_it(name):
    said = start_example(name, "--help")
    description = ast.get_docstring(ast.parse((EXAMPLES / name).read_text(encoding="utf-8")))
    assert said.returncode == 0
    assert description.splitlines()[0] in said.stdout
    assert f"python examples/{name}" in said.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_imports_the_public_names_and_nothing_else_of_rkface(name):
    tree = ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in modules if name.split(".")[0] == "rkface"} <= {"rkface"}


def test_a_folder_is_enrolled_once_and_searched(demo, staff, people, tmp_path):
    path = tmp_path / "gallery.sqlite"
    arguments = (staff, "--gallery", path, "--bundle", demo, "--search", people / "Bela/3.jpg")
    first, second = (run_example("enroll_folder.py", *arguments) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "Ada, samples: 2\nBela, samples: 2" in first.stdout
    assert "Ada, samples: 2\nBela, samples: 2" in second.stdout
    found = [line for line in first.stdout.splitlines() if "cosine" in line]
    assert re.search(r"Bela, cosine 0\.\d+: same person", found[0])
    assert re.search(r"Ada, cosine -?0\.\d+: another person", found[1])
    assert path.stat().st_mode & 0o077 == 0


def test_a_refused_photo_is_named_and_the_others_are_enrolled(demo, staff, tmp_path):
    folder = tmp_path / "staff/Ada"
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_bytes((staff / "Ada/1.jpg").read_bytes())
    (folder / "2.jpg").write_bytes(b"not a photo")
    said = run_example("enroll_folder.py", folder.parent, "--gallery", tmp_path / "gallery.sqlite", "--bundle", demo)
    assert said.returncode == 1
    assert "2.jpg: refused: " in said.stdout
    assert "Ada, samples: 1" in said.stdout


def test_a_photo_is_recognized_and_drawn(demo, gallery, party, tmp_path):
    drawn = tmp_path / "drawn.png"
    said = run_example("recognize_photo.py", party, "--gallery", gallery, "--bundle", demo, "--draw", drawn)
    assert said.returncode == 1, said.stderr  # Chike is unknown
    assert sorted(line.split()[0] for line in said.stdout.splitlines()) == ["Bela", "unknown"]
    assert cv2.imread(str(drawn)).shape == cv2.imread(str(party)).shape
    assert (cv2.imread(str(drawn)) != cv2.imread(str(party))).any()


def test_a_photo_of_known_people_ends_with_0(demo, gallery, people):
    said = run_example("recognize_photo.py", people / "Ada/3.jpg", "--gallery", gallery, "--bundle", demo)
    assert (said.returncode, said.stdout.split()[0]) == (0, "Ada")


def test_a_camera_is_watched(demo, gallery, video):
    said = run_example("watch_camera.py", video, "--gallery", gallery, "--bundle", demo)
    assert said.returncode == 0, said.stderr
    for stage in ("came", "left"):
        for name in ("Ada", "Bela"):
            assert re.search(rf"{stage}: {name} ", said.stdout), said.stdout


def test_every_frame_of_a_video_goes_through_the_scheduler(demo, video):
    said = run_example("keep_cores_busy.py", video, "--bundle", demo)
    assert said.returncode == 0, said.stderr
    numbers = [int(number) for number in re.findall(r"^frame (\d+): [12] faces?", said.stdout, re.MULTILINE)]
    assert numbers == list(range(SECONDS * RATE))
    assert f" faces in {SECONDS * RATE} frames" in said.stdout


@pytest.fixture
def places(demo, gallery, people, tmp_path):
    return {"folder": tmp_path, "demo": demo, "gallery": gallery, "ada": people / "Ada/1.jpg"}


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("recognize_photo.py", ["{folder}/none.jpg", "--bundle", "{demo}"], "cannot be read"),
        ("recognize_photo.py", ["{ada}", "--bundle", "{demo}", "--gallery", "{folder}/none.sqlite"], "no such gallery"),
        ("recognize_photo.py", ["{ada}", "--bundle", "{folder}/none"], "no such bundle"),
        ("enroll_folder.py", ["{folder}/none"], "no photos"),
        ("watch_camera.py", ["none", "--bundle", "{demo}", "--gallery", "{gallery}"], "is not a camera"),
        ("keep_cores_busy.py", ["{folder}/none.mp4", "--bundle", "{demo}"], "is not a camera"),
        ("receive_webhook.py", ["--secret", "{folder}/none"], "No such file"),
        ("receive_webhook.py", ["--secret", "/dev/null"], "24 bytes or more"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(name, arguments, error, places):
    said = run_example(name, *(one.format_map(places) for one in arguments))
    assert said.returncode == 2
    assert said.stderr.startswith(name.removesuffix(".py") + ": ")
    assert error in said.stderr and said.stderr.count("\n") == 1


class Receiver:
    """examples/receive_webhook.py, running."""

    def __init__(self, process):
        self.process = process
        self.address = process.stdout.readline().split()[-1]

    def post(self, body, *, key=KEY, sent=None, identity="one"):
        """Post as rkface does; the status of the answer."""
        sent = str(int(time.time() if sent is None else sent))
        digest = hmac.new(key, f"{identity}.{sent}.".encode() + body, hashlib.sha256).digest()
        headers = {
            "webhook-id": identity,
            "webhook-timestamp": sent,
            "webhook-signature": "v1," + base64.b64encode(digest).decode(),
        }
        try:
            with urllib.request.urlopen(urllib.request.Request(self.address, body, headers), timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def stop(self):
        """What it printed."""
        self.post(b"", key=b"")  # it answers one sender at a time: what came before is printed by now
        self.process.terminate()
        return self.process.communicate(timeout=30)[0].splitlines()


@pytest.fixture
def receiver(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    command = [sys.executable, EXAMPLES / "receive_webhook.py", "--secret", secret, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with process:
        yield Receiver(process)
        process.kill()


def event(name):
    match = {"person": "p-1", "name": name, "cosine": 0.7}
    return json.dumps({"schema": "rkface.appearance", "source": "door", "stage": "start", "match": match}).encode()


def test_a_real_delivery_is_verified(receiver, demo, gallery, video, tmp_path):
    settings = tmp_path / "rkface.toml"
    settings.write_text(
        f'bundle = "{demo}"\ngallery = "{tmp_path / "gallery.sqlite"}"\n[events]\nstdout = false\n'
        f'[events.webhook]\nurl = "{receiver.address}"\nsecret = "file:{tmp_path / "secret"}"\n'
    )
    (tmp_path / "gallery.sqlite").write_bytes(gallery.read_bytes())
    command = [sys.executable, "-m", "rkface.runtime.cli.main", "run", "--config", settings,
               "--camera", f"door={video}", "--backend", "reference", "--no-web"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = receiver.stop()
    for stage in ("start", "end"):
        for name in ("Ada", "Bela"):
            assert f"door: {stage}: {name}" in said


def test_a_forged_delivery_is_refused(receiver):
    assert receiver.post(event("Mallory"), key=bytes(32)) == 401
    assert receiver.post(event("Mallory"), key=b"") == 401
    assert receiver.post(b"x" * 70_000) == 413
    assert receiver.post(event("Ada")) == 204
    assert receiver.stop() == ["door: start: Ada"]


def test_a_replay_does_nothing(receiver):
    assert receiver.post(event("Ada"), identity="first") == 204
    assert receiver.post(event("Ada"), identity="first") == 204  # so that rkface does not try again
    assert receiver.post(event("Ada"), identity="late", sent=time.time() - 301) == 401
    assert receiver.post(event("Bela"), identity="second") == 204
    assert receiver.stop() == ["door: start: Ada", "door: start: Bela"]


def test_the_notebook_runs(demo, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat, nbclient and ipykernel")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("RKFACE_BUNDLE", str(demo))
    content = nbformat.read(NOTEBOOK, as_version=4)
    kept = outputs(content)
    nbclient.NotebookClient(content, timeout=120, coalesce_streams=True).execute(cwd=EXAMPLES)
    assert outputs(content) == kept


def test_the_notebook_keeps_its_outputs_and_no_path_of_a_machine():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    codes = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in codes] == list(range(1, len(codes) + 1))
    pictures = [out for cell in codes for out in cell["outputs"] if "image/jpeg" in out.get("data", {})]
    assert len(pictures) == 3  # detection, alignment, similarity
    assert str(Path.home()) not in json.dumps(content) and os.sep + "tmp" not in json.dumps(content)


def outputs(content):
    """What kinds of outputs each cell has."""
    return [[sorted(out.get("data", {"text": ""})) for out in cell.get("outputs", [])] for cell in content.cells]
