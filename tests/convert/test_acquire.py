"""Downloads from a real HTTP server on loopback: resumed, verified, safely unpacked, or refused."""

import hashlib
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rkface.convert.acquire import acquire, own_sources, pack_sources
from rkface.convert.catalog import DEMO, INSIGHTFACE, RESEARCH, KnownModel, Pack, find_pack
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.manifest import Input, Manifest, Model, Output, RecognizerSpec, Thresholds, contract
from rkface.runtime.gallery.people import embedding_identity

DETECTOR, RECOGNIZER = b"detector" * 40_000, b"recognizer" * 40_000


def digest(data):
    return hashlib.sha256(data).hexdigest()


def zipped(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
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
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def pack(server, tmp_path):
    # The models of buffalo_m are one folder deeper than those of buffalo_l.
    server.data = zipped(
        tmp_path / "made.zip", {"p/det.onnx": DETECTOR, "p/arc.onnx": RECOGNIZER, "p/other.onnx": b"?"}
    )
    return Pack(
        "p",
        KnownModel("det.onnx", digest(DETECTOR)),
        KnownModel("arc.onnx", digest(RECOGNIZER)),
        RESEARCH,
        0.4,
        "",
        url=f"http://127.0.0.1:{server.server_port}/p.zip",
        sha256=digest(server.data),
    )


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_the_license_must_be_accepted(pack, cache, server):
    with pytest.raises(InputError, match=r"non-commercial research.*--accept-license"):
        acquire(pack, cache, accepted=False)
    assert not server.ranges and not cache.exists()


def test_models_are_downloaded_once_verified_and_unpacked(pack, cache, server):
    paths = acquire(pack, cache, accepted=True)
    assert paths["detector"].read_bytes() == DETECTOR and paths["recognizer"].read_bytes() == RECOGNIZER
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == ["arc.onnx", "det.onnx"]
    assert acquire(pack, cache, accepted=True) == paths and len(server.ranges) == 1
    paths["detector"].write_bytes(b"damaged")
    assert acquire(pack, cache, accepted=True)["detector"].read_bytes() == DETECTOR


def test_an_interrupted_download_is_resumed(pack, cache, server):
    server.limit = 100_000
    with pytest.raises(WorkError, match=r"same command again to resume"):
        acquire(pack, cache, accepted=True)
    assert (cache / "p.zip.part").stat().st_size == 100_000
    server.limit = None
    assert acquire(pack, cache, accepted=True)["detector"].read_bytes() == DETECTOR
    assert server.ranges == [None, "bytes=100000-"]


def test_a_download_with_another_checksum_is_refused_and_not_resumed(pack, cache, server):
    server.data = server.data[:-1] + b"!"
    with pytest.raises(WorkError, match="SHA-256 differs"):
        acquire(pack, cache, accepted=True)
    assert not any(path.is_file() for path in cache.rglob("*"))


def test_a_failed_download_says_where_to_copy_the_file(pack, cache, server):
    server.status = 503
    with pytest.raises(WorkError, match=r"503|Service") as caught:
        acquire(pack, cache, accepted=True)
    assert str(cache / "p.zip") in str(caught.value)


def test_an_archive_that_the_user_copied_is_used_and_kept(pack, cache, server):
    cache.mkdir()
    (cache / "p.zip").write_bytes(server.data)
    acquire(pack, cache, accepted=True)
    assert not server.ranges and (cache / "p.zip").read_bytes() == server.data
    (cache / "p/det.onnx").unlink()
    (cache / "p.zip").write_bytes(server.data[:1000])
    with pytest.raises(InputError, match="SHA-256 differs"):
        acquire(pack, cache, accepted=True)
    assert (cache / "p.zip").exists(), "a file of the user is never deleted"


@pytest.mark.parametrize("name", ["../det.onnx", "p/../../det.onnx", "/etc/det.onnx", "..\\det.onnx", "C:\\det.onnx"])
def test_an_archive_that_would_write_outside_its_folder_is_refused(pack, cache, tmp_path, name):
    cache.mkdir()
    data = zipped(cache / "p.zip", {name: DETECTOR, "arc.onnx": RECOGNIZER})
    with pytest.raises(InputError, match="would be written outside its folder"):
        acquire(replace(pack, sha256=digest(data)), cache, accepted=True)
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["p.zip"]
    assert not (tmp_path / "det.onnx").exists()


def test_archives_with_wrong_content_are_refused(pack, cache):
    cache.mkdir()
    for entries, says in (
        ({"arc.onnx": RECOGNIZER}, r"has no det\.onnx"),
        ({"det.onnx": b"other", "arc.onnx": RECOGNIZER}, r"not the known det\.onnx"),
    ):
        data = zipped(cache / "p.zip", entries)
        with pytest.raises(InputError, match=says):
            acquire(replace(pack, sha256=digest(data)), cache, accepted=True)
    (cache / "p.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match="damaged archive"):
        acquire(replace(pack, sha256=digest(b"no zip")), cache, accepted=True)
    assert not (cache / "p/det.onnx").exists()


def test_packs_are_found_by_name():
    assert [pack.name for pack in INSIGHTFACE] == ["buffalo_l", "buffalo_m", "buffalo_sc"]
    assert all(len(pack.sha256) == 64 and pack.license == RESEARCH for pack in INSIGHTFACE)
    assert find_pack("buffalo_l").recognizer.file == "w600k_r50.onnx"
    with pytest.raises(InputError, match="rkface knows demo, buffalo_l"):
        find_pack("buffalo_xl")


def test_the_demo_pack_needs_no_network_and_is_marked_synthetic(tmp_path):
    sources = pack_sources(find_pack("demo"), tmp_path, accepted=False)
    assert sources.synthetic and "rendered" in sources.licenses["recognizer"]
    assert all(path.is_file() for path in sources.paths.values()) and not list(tmp_path.iterdir())


INPUT = Input("x", 112, 112, (127.5,) * 3, (127.5,) * 3)


def manifest_of(source):
    """The manifest of a bundle whose recognizer was made from ``source``."""
    model = Model("recognizer.rknn", "reference/recognizer.onnx", "int8", INPUT, (Output("y", (1, 512)),), source)
    return Manifest(
        name="test", synthetic=True, created="", target="rk3588", toolkit="2.5.0", rkface="0.1.0", detector=model,
        recognizer=RecognizerSpec(**vars(model), crop=ARCFACE_112), thresholds=Thresholds(0.5, 0.4, 0.4), provenance={},
    )  # fmt: skip


def test_the_identity_of_embeddings_covers_weights_in_other_files(tmp_path):
    """Two models whose .onnx files agree and whose weights differ; and the first of them in a single file."""
    import numpy as np
    import onnx

    proto = onnx.load(DEMO / "recognizer.onnx")
    onnx.save(proto, tmp_path / "inside.onnx")
    paths = [tmp_path / "inside.onnx"]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / "r.onnx")
        onnx.save(
            onnx.load(tmp_path / "inside.onnx"), paths[-1], save_as_external_data=True, size_threshold=0, location="w"
        )
    weights = np.fromfile(tmp_path / "b/w", np.float32)
    (weights[::-1]).tofile(tmp_path / "b/w")
    assert paths[1].read_bytes() == paths[2].read_bytes()
    inside, one, other = (own_sources(DEMO / "detector.onnx", path, "").source("recognizer") for path in paths)
    assert one.sha256 == inside.sha256 == digest(paths[0].read_bytes()) and one.bytes == inside.bytes
    assert other.sha256 != one.sha256
    first, second, third = (embedding_identity(manifest_of(source)) for source in (inside, one, other))
    assert first == second != third
    contracts = {contract("recognizer", INPUT, source.sha256) for source in (inside, one, other)}
    assert len(contracts) == 2, "the .rknn file names the model that it was made from"


def test_own_files_are_recognized_by_their_checksum(tmp_path, monkeypatch):
    detector, recognizer = tmp_path / "a.onnx", tmp_path / "b.onnx"
    models = [bytes([0x3A, 2, 0x12, 0]), bytes([0x3A, 3, 0x12, 1, 0x61])]  # protobuf: models with an empty graph
    detector.write_bytes(models[0])
    recognizer.write_bytes(models[1])
    sources = own_sources(detector, recognizer, "mine")
    assert sources.licenses == {"detector": "mine", "recognizer": "mine"} and "not measured" in sources.evidence
    known = replace(INSIGHTFACE[0], recognizer=KnownModel("w600k_r50.onnx", digest(models[1])))
    monkeypatch.setattr("rkface.convert.catalog.INSIGHTFACE", (known,))
    sources = own_sources(detector, recognizer, "mine")
    assert sources.licenses == {"detector": "mine", "recognizer": RESEARCH} and sources.match == 0.4078
    with pytest.raises(InputError, match=r"c\.onnx: no such model"):
        own_sources(detector, tmp_path / "c.onnx", "")
