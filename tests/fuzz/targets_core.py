"""Readers of text: configurations, manifests, tables, names, addresses, and answers of boards."""

import json
from pathlib import Path

from fuzz_target import Target, from_file, temporary_folder

from rkface.boards.board_answers import clean_report, clean_text, parse_facts
from rkface.boards.deploy.board_status import parse_status
from rkface.boards.deploy.deploy_board import summarize_selftest
from rkface.boards.doctor.report import render_report, report_from_json
from rkface.boards.profile import read_chips, read_profile
from rkface.boards.ssh import explain_ssh_error, most_relevant_line
from rkface.calibration.dataset import KIND, SCHEMA, read_set
from rkface.runtime.cameras.source_names import check_network_address
from rkface.runtime.core.addresses import check_host, mask_address, mask_secrets, split_address
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import InputError, RkfaceError
from rkface.runtime.core.files import parse_json
from rkface.runtime.core.manifest import Input, Manifest, Model, Output, RecognizerSpec, Source, Thresholds
from rkface.runtime.core.text import find_hidden, in_a_line, show_value
from rkface.runtime.enrollment.import_export import read_records
from rkface.runtime.gallery.people import clean_name
from rkface.runtime.service.config import check_settings, hide_secrets
from rkface.runtime.service.settings import named_cameras

FOLDER = temporary_folder()
PROFILES = Path(read_chips.__code__.co_filename).parent
CHIPS = read_chips(PROFILES / "chips.toml")


def show_settings(path: Path) -> None:
    settings, problems = check_settings(path)
    if settings is None:
        raise InputError("\n".join(problems))
    hide_secrets(settings)


def manifest() -> bytes:
    source = Source("m.onnx", "0" * 64, 1, "MIT")
    models = [
        Model(f"{role}.rknn", f"reference/{role}.onnx", "int8", Input("input", 112, 112, (127.5,) * 3, (127.5,) * 3),
              (Output("output", (1, 128)),), source)
        for role in ("detector", "recognizer")
    ]  # fmt: skip
    models[1] = RecognizerSpec(**vars(models[1]), crop=ARCFACE_112)
    thresholds = Thresholds(0.5, 0.4, 0.4)
    return Manifest("demo", True, "2026-01-01", "rk3588", "2.3.2", "0.1.0", *models, thresholds).to_json().encode()


def read_manifest_and_sums(data: bytes) -> object:
    """The manifest, then SHA256SUMS behind a NUL."""
    folder = FOLDER / "bundle"
    folder.mkdir(exist_ok=True)
    first, _, second = data.partition(b"\0")
    (folder / "manifest.json").write_bytes(first)
    (folder / "SHA256SUMS").write_bytes(second)
    return read_bundle(folder)


def read_calibration_set(data: bytes) -> object:
    folder = FOLDER / "set"
    folder.mkdir(exist_ok=True)
    (folder / "calibration.json").write_bytes(data)
    return read_set(folder)


def read_people(path: Path) -> list[object]:
    found = list(read_records(path, FOLDER))
    for record in found:
        if isinstance(record, InputError):
            assert len(str(record)) < 2000
    return found


def mask(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    assert isinstance(mask_secrets(text), str)
    assert mask_address(mask_address(text)) is not None
    named_cameras([text])
    for check in (check_network_address, check_host, lambda one: split_address(one, "the URL", ("http", "https"))):
        try:
            check(text)
        except InputError as error:
            assert len(str(error)) < 2 * len(text) + 1000


def name_person(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    assert find_hidden(in_a_line(text)) is None
    show_value(text)
    name = clean_name(text)
    assert clean_name(name) == name


def answer(data: bytes) -> None:
    """An answer of the agent."""
    try:
        value = parse_json(data)
    except ValueError:
        return
    for use in (parse_facts, parse_status, summarize_selftest):
        try:
            assert find_hidden(clean_text(use(value))) is None
        except RkfaceError as error:
            assert find_hidden(str(error)) is None


def doctor_report(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        report = clean_report(report_from_json(parse_json(text)))
    except (ValueError, AttributeError, TypeError):
        return
    assert find_hidden(render_report(report, width=80, color=False).replace("\n", "")) is None


def ssh_output(data: bytes) -> None:
    text = data.decode(errors="replace")
    assert find_hidden(explain_ssh_error("board", text)) is None
    assert find_hidden(most_relevant_line(text)) is None


def settings() -> list[bytes]:
    return [
        b'cores = 3\n[camera.door]\nsource = "rtsp://u:p@h/1"\nrate = 5\n[events.webhook]\nurl = "https://h/x"\n',
        b'[web]\nport = 8080\nhost = "::1"\n[keep]\nappearances = 30\n[events.mqtt]\nhost = "broker"\n',
    ]


def calibration_sets() -> list[bytes]:
    image = {"file": "recognizer/0000.png", "sha256": "0" * 64, "source_sha256": "1" * 64}
    part = {"images": [image], "width": 640, "height": 640}
    record = {"kind": KIND, "schema": SCHEMA, "digest": "x", "recognizer": part, "detector": part}
    return [json.dumps(record).encode()]


def boards() -> list[bytes]:
    facts = {"user": "radxa", "machine": "aarch64", "pythons": [["/usr/bin/python3", "3.11.2"]], "rsync": True,
             "current": "20260101T000000Z-01234567", "writable": True}  # fmt: skip
    result = {"agreements": [{"role": "detector", "simulator": 0.999}], "latencies": [{"what": "detector", "p50": 9.5}]}
    return [json.dumps(one).encode() for one in (facts, result)]


def reports() -> list[bytes]:
    line = {"name": "kernel", "verdict": "warn", "found": "6.1", "fix": "update"}
    repair = {"why": "speed", "argv": ["sudo", "true"]}
    return [json.dumps({"lines": [line], "facts": {"soc": "rk3588"}, "repairs": [repair], "verdict": "ok"}).encode()]


def people() -> list[bytes]:
    return [
        b"name,photo\nAda,ada.jpg\n", "sep=;\nLabel;Path\nZo\u00eb;a.png\n".encode(),
        "name\tfile\nA\tb\n".encode("utf-16"),
        b'name,metadata,embedding\nAda,"{""room"": 3}",AACAPwAAAAA=\n',
    ]  # fmt: skip


def lines() -> list[bytes]:
    sample = {"source": "a.jpg", "quality": 0.5, "created": 1.5, "identity": "x", "embedding": "AACAPwAAAAA="}
    person = {"schema": "rkface.person", "version": 1, "name": "Ada", "metadata": {"room": 3}, "samples": [sample]}
    return [json.dumps(person).encode() + b"\n"]


def addresses() -> list[bytes]:
    return [
        b"rtsp://admin:S3cret@[fe80::1]:554/live?channel=1&token=x#y", b"admin:a/b?c@10.0.0.2/live",
        b"door=/dev/video0",
        b'rtspsrc location="rtsp://a:b@c/1" user-pw="x ! y" latency=100 ! decodebin ! appsink', b"rtsp:/a%3Ab%40c/d",
    ]  # fmt: skip


def names() -> list[bytes]:
    return [name.encode() for name in ("Ada Lovelace", "Zoe\u0308", "علی\u200cرضا", "山田\u3000太郎", "\u202eAda")]


def profiles() -> list[bytes]:
    return [path.read_bytes() for path in sorted((PROFILES / "profiles").glob("*.toml"))[:2]]


TARGETS = (
    Target("toml", from_file(FOLDER, "rkface.toml", show_settings), settings),
    Target("board-profile", from_file(FOLDER, "board.toml", lambda path: read_profile(path, CHIPS)), profiles),
    Target("chips", from_file(FOLDER, "chips.toml", read_chips), lambda: [(PROFILES / "chips.toml").read_bytes()]),
    Target("bundle", read_manifest_and_sums, lambda: [manifest() + b"\0" + b"0" * 64 + b"  detector.rknn\n"]),
    Target("calibration-set", read_calibration_set, calibration_sets),
    Target("people-table", from_file(FOLDER, "people.csv", read_people), people),
    Target("people-lines", from_file(FOLDER, "people.jsonl", read_people), lines),
    Target("address", mask, addresses),
    Target("name", name_person, names),
    Target("board-answer", answer, boards),
    Target("doctor-report", doctor_report, reports),
    Target("ssh-output", ssh_output, lambda: [b"Permission denied (publickey).\n", b"Traceback\n  x\nOSError: y\n"]),
)
