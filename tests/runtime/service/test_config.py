"""Settings from TOML: every mistake is reported, with a suggestion, and nothing is used in part."""

import json
import platform
import re
import shutil
import subprocess
from argparse import ArgumentParser
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import get_args, get_origin

import jsonschema
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.cli.run import run, run_settings
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Thresholds
from rkface.runtime.core.toml import describe_fields, load_table, read_toml
from rkface.runtime.core.toml_writer import dump, list_keys
from rkface.runtime.core.weekly import WeeklyHours
from rkface.runtime.service import config
from rkface.runtime.service.receiver_settings import Events, MqttSettings, WebhookSettings
from rkface.runtime.service.settings import (
    CameraSettings,
    Polygon,
    Recognition,
    Settings,
    Web,
    console_address,
    named_cameras,
)

FULL = Settings(
    bundle=Path("/opt/rkface/current/bundle"),
    backend="npu",
    cores=2,
    gallery=Path("/var/lib/rkface/gallery.sqlite"),
    device='door "7"\n\\',
    camera={
        "yard": CameraSettings("rtsp://u:p@h/1", decoder="h264", rate=5.0),
        "front door": CameraSettings(
            "/dev/video0",
            loop=True,
            looks=5.0,
            motion=True,
            min_face=0.1,
            hide_masks=True,
            zones={'my "steps"': Polygon(((0.0, 0.5), (1.0, 0.5), (0.25, 1.0)))},
            masks={"street": Polygon(((0.0, 0.0), (1.0, 0.0), (1.0, 0.1)))},
            schedule={"away": WeeklyHours(("mon", "sun"), ("22:00-06:00",), "Europe/Warsaw")},
        ),
    },
    events=Events(False, Path("/tmp/e.jsonl"), WebhookSettings("https://h/", "env:SECRET"), MqttSettings("broker")),
    web=Web(password_file=Path("/etc/rkface/password")),
)


@pytest.fixture
def problems(tmp_path):
    """What is said of a file with this content."""

    def say(content):
        path = tmp_path / "rkface.toml"
        path.write_text(content)
        settings, found = config.check_settings(path)
        assert (settings is None) == bool(found)
        assert all(one.startswith(f"{path}: ") for one in found)
        return [one.removeprefix(f"{path}: ") for one in found]

    return say


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("settings", [Settings(), FULL])
def test_dumped_settings_read_back_the_same(tmp_path, settings, explain):
    path = tmp_path / "rkface.toml"
    settings = replace(settings, bundle=tmp_path / "bundle", gallery=tmp_path / "gallery.sqlite")
    path.write_text(dump(settings, explain=explain))
    assert config.read_settings(path) == settings


MISTAKES = pytest.mark.parametrize(
    ("content", "said"),
    [
        ("bundel = 'x'", "unknown key bundel: did you mean bundle?"),
        ("[camera.door]\nsorce = '0'\nsource = '0'", "unknown key camera.door.sorce: did you mean source?"),
        ("[kep]\n", "unknown key kep: did you mean keep?"),
        ("[events.webhok]\n", "unknown key events.webhok: did you mean webhook?"),
        ("[events.webhook]\n", "events.webhook.url is missing"),
        ("backend = 'cpu'", "backend is 'cpu', but must be one of '', npu, reference"),
        ("[camera.door]\nsource='0'\nformat='YUV'", "camera.door.format is 'YUV', but must be one of MJPG, YUYV, NV12"),
        ("[camera.door]\nsource='0'\nmotoin=true", "unknown key camera.door.motoin: did you mean motion?"),
        ("[camera.door]\nsource='0'\nmotion=1", "camera.door.motion is 1, but must be true or false"),
        ("[camera.door]\nsource='0'\nlooks=0", "camera.door.looks is 0.0, but must be from 0.1 to 1000"),
        ("cores = 99", "cores is 99, but must be from 0 to 8"),
        ("cores = true", "cores is True, but must be a whole number"),
        ("[keep]\nappearances = '30 days'", "keep.appearances is '30 days', but must be a number"),
        ("[keep]\nappearances = nan", "keep.appearances is nan, but must be from 0 to 3650"),
        ("web = true", "web is True, but must be a table: [web]"),
        ("[camera]\ndoor = '/dev/video0'", "camera.door is '/dev/video0', but must be a table: [camera.door]"),
        ("key = ''", "key is empty: write a path, or leave it out"),
        ("[events.webhook]\nurl = 'http://h'\nca = ''", "events.webhook.ca is empty: write a path, or leave it out"),
    ],
)


@MISTAKES
def test_each_mistake_is_reported_with_a_suggestion(problems, content, said):
    assert problems(content) == [said]


CAMERAS = "[camera.a]\nsource = '{0}'\n[camera.b]\nsource = '{0}'"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("device = ' '", "device is empty"),
        ("gallery = '.'", "gallery: {folder} is a folder: name a file in it"),
        ("gallery = '/'", "gallery: / is a folder: name a file in it"),
        ("[events]\nfile = '/'", "events.file: / is a folder: name a file in it"),
        ("[camera.a]\nsource = ' '", "camera.a.source is empty"),
        ("[camera.a]\nsource = 'rtsp://me:x@'", "the at sign as %40, a space as %20"),
        *(
            (f"[camera.'{name}']\nsource = '0'", "the name of a camera must be visible text without / (not . or ..)")
            for name in ("hall/door", "..", ".", " ", "")
        ),
        ("[rules.'..']\nreceivers = ['stdout']", "the name of a rule must be visible text without / (not . or ..)"),
        (CAMERAS.format("-"), "camera.b.source: stdin is read by the camera a already"),
        (CAMERAS.format("/dev/video0"), "camera.b.source: /dev/video0 is read by the camera a already"),
        ("[events.mqtt]\nhost = 'h'\nprefix = 'home/#'", "events.mqtt.prefix: the start of topics must be"),
        ("[events.mqtt]\nhost = 'h'\ndiscovery_root = '+'", "events.mqtt.discovery_root: the start of topics must be"),
    ],
)
def test_what_no_service_can_use_is_a_mistake(tmp_path, capsys, content, said):
    """Before, these files were valid, and the service ended, or ran without what they ask for."""
    path = tmp_path / "rkface.toml"
    path.write_text(content)
    for command in (["config", "check", str(path)], ["run", "--config", str(path)]):
        assert main(command) == 2
        assert said.format(folder=tmp_path) in capsys.readouterr().err


def test_the_command_line_names_each_device_once(capsys):
    for device in ("-", "/dev/video0"):
        assert main(["run", "--camera", f"a={device}", "--camera", f"b={device}"]) == 2
        assert capsys.readouterr().err.startswith("rkface: --camera: camera.b.source: ")


def test_cameras_may_share_a_recording_and_a_network_address(problems):
    for source in ("film.mp4", "rtsp://10.0.0.2/stream"):
        assert problems(CAMERAS.format(source)) == []


def test_all_mistakes_are_reported_together(problems):
    assert len(problems("bundel = 'x'\ncores = 'many'\n[web]\nprot = 80\n[events.mqtt]\nport = 70000\n")) == 5


def test_invalid_toml_is_reported_with_its_line(problems):
    (said,) = problems("bundle = 'x'\ncores = \n")
    assert "not valid TOML" in said and "line 2" in said


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path):
    path = tmp_path / "rkface.toml"
    path.write_text("bundle = 'mine'\n[events]\nfile = '/var/log/events'\n")
    settings = config.read_settings(path)
    assert settings.bundle == tmp_path / "mine" and settings.events.file == Path("/var/log/events")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("file:secret", "file:FOLDER/secret"),
        ("file:../secret", "file:FOLDER/../secret"),
        ("file:/etc/secret", "file:/etc/secret"),
        ("env:SECRET", "env:SECRET"),
    ],
)
def test_relative_files_of_secrets_are_in_the_folder_of_the_settings(tmp_path, written, meant):
    path = tmp_path / "rkface.toml"
    path.write_text(
        f"events.webhook = {{url = 'https://h/', secret = '{written}'}}\n"
        f"events.mqtt = {{host = 'broker', password = '{written}'}}\n"
        f"hub.address = '{written}'\nnotify.phone.url = '{written}'\n"
    )
    for settings in (config.read_settings(path), config.check_settings(path)[0]):
        assert {settings.events.webhook.secret, settings.events.mqtt.password} == {
            meant.replace("FOLDER", str(tmp_path))
        }
        assert {settings.hub.address, settings.notify["phone"].url} == {meant.replace("FOLDER", str(tmp_path))}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("embedded:pg", "embedded:FOLDER/pg"),
        ("embedded:rkface_board_door_1@pg", "embedded:rkface_board_door_1@FOLDER/pg"),
        ("embedded:/srv/pg", "embedded:/srv/pg"),
    ],
)
def test_a_relative_folder_of_a_hub_is_in_the_folder_of_the_settings(tmp_path, written, meant):
    path = tmp_path / "rkface.toml"
    path.write_text(f"hub.address = '{written}'\n")
    assert config.read_settings(path).hub.address == meant.replace("FOLDER", str(tmp_path))


def test_a_whole_number_is_accepted_for_a_number(tmp_path):
    path = tmp_path / "rkface.toml"
    path.write_text("[recognition]\nwindow = 20\n")
    window = config.read_settings(path).recognition.window
    assert (window, type(window)) == (20.0, float)


def test_every_setting_has_a_help_text():
    for line, before in zip(shown := dump(FULL, explain=True).splitlines(), ["", *shown], strict=False):
        assert before.startswith("# ") or " = " not in line or line.startswith("#"), line


def every_key(kind, where=""):
    """The keys of everything that a file may contain; NAME stands for the name of a table."""
    for name, info in describe_fields(kind).items():
        inner = get_args(info.type)[1] if get_origin(info.type) is dict else info.type
        named = f"{where}{name}" + (".NAME" if get_origin(info.type) is dict else "")
        if is_dataclass(inner):
            yield from every_key(inner, f"{named}.")
        else:
            yield named


@pytest.fixture
def shown(tmp_path, capsys):
    """What `rkface config show FILE` prints for an empty file, with every line that does not count made to count."""
    (tmp_path / "empty.toml").write_text("")
    assert main(["config", "show", str(tmp_path / "empty.toml")]) == 0
    path = tmp_path / "rkface.toml"
    path.write_text(re.sub(r"^#(?! )", "", capsys.readouterr().out, flags=re.MULTILINE))
    return path


@pytest.fixture
def schema(tmp_path, capsys):
    """The file that `rkface config schema` prints."""
    assert main(["config", "schema"]) == 0
    path = tmp_path / "rkface.schema.json"
    path.write_text(capsys.readouterr().out)
    return path


def test_every_key_is_shown_also_of_tables_that_are_not_there(shown):
    table = read_toml(shown)
    assert set(list_keys(table)) == set(every_key(Settings))
    problems = []
    assert load_table(Settings, table, problems) and problems == [], "each example is a valid value"


def test_the_schema_for_editors_accepts_what_is_shown(shown, schema):
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(read_toml(shown))


@MISTAKES
def test_the_schema_for_editors_finds_the_same_mistakes(schema, tmp_path, content, said):
    path = tmp_path / "wrong.toml"
    path.write_text(content.replace("nan", "1e9"))  # JSON has no NaN
    problems = []
    load_table(Settings, table := read_toml(path), problems)
    assert jsonschema.Draft7Validator(json.loads(schema.read_text())).is_valid(table) == (not problems), said


@pytest.mark.skipif(shutil.which("taplo") is None, reason="needs taplo (pip install taplo)")
def test_taplo_checks_a_configuration_that_names_the_schema(shown, schema):
    """As an editor does: the first line of the file names its schema."""

    folder = shown.parent

    def check(content):
        shown.write_text(f"#:schema ./{schema.name}\n{content}")
        return subprocess.run(["taplo", "check", shown.name], check=False, cwd=folder, capture_output=True, text=True)

    right = shown.read_text()
    assert (found := check(right)).returncode == 0, found.stderr
    wrong = check(right.replace("unknown_faces =", "unknown_face ="))
    assert wrong.returncode != 0 and "unknown_face" in wrong.stderr


def test_the_threshold_of_the_bundle_is_the_default():
    thresholds = Thresholds(0.5, 0.4, 0.37)
    assert Recognition().rules(thresholds).match == 0.37
    assert Recognition(match=0.5, window=3).rules(thresholds).match == 0.5


def test_cameras_of_the_command_line_get_names():
    specs = [
        "/dev/video0",
        "2",
        "door=rtsp://u:p@10.0.0.7:554/s?a=b",
        "rtsp://u:p@10.0.0.7/x",
        "rtsp://10.0.0.7/y",
        "-",
        "films/yard.mp4",
        "/dev/v4l/by-id/usb-Maker_Cam-video-index0",
        "rtspsrc location=rtsp://h ! appsink",
    ]
    cameras = named_cameras(specs)
    names = ["video0", "video2", "door", "10.0.0.7", "10.0.0.7-2", "stdin", "yard", "usb", "gstreamer"]
    assert list(cameras) == names
    assert cameras["door"].source == "rtsp://u:p@10.0.0.7:554/s?a=b"
    assert cameras["gstreamer"].source == specs[-1], "its = does not separate a name"


def test_the_commands(tmp_path, capsys):
    path = tmp_path / "rkface.toml"
    assert main(["config", "show"]) == 0
    path.write_text(capsys.readouterr().out)
    assert main(["config", "check", str(path)]) == 0
    assert "valid, 1 camera" in capsys.readouterr().out
    path.write_text("bundle = 'nowhere'\n[events.mqtt]\nhost = 'h'\npassword = 'env:RKFACE_NOT_SET'\n")
    assert main(["config", "check", str(path)]) == 0, "it may be meant for another machine"
    said = capsys.readouterr().out
    assert "no bundle" in said and "RKFACE_NOT_SET" in said and "no camera is configured" in said
    path.write_text("[camera.door]\nsuorce = '0'\n")
    assert main(["config", "check", str(path)]) == 2
    assert "did you mean source?" in capsys.readouterr().err
    with pytest.raises(InputError, match="is missing"):
        config.read_settings(path)
    assert main(["config", "check", str(tmp_path / "nowhere")]) == 2


def test_the_configuration_of_a_release_is_beside_its_bundle(tmp_path):
    parser = ArgumentParser()
    run(parser)
    (tmp_path / "rkface.toml").write_text('[camera.door]\nsource = "rtsp://door/stream"\n')
    settings = run_settings(parser.parse_args(["--bundle", str(tmp_path / "bundle")]))
    assert settings.camera["door"].source == "rtsp://door/stream" and settings.bundle == tmp_path / "bundle"


@pytest.mark.parametrize(
    ("web", "address"),
    [
        (Web(), ""),
        (Web(host="::1"), ""),
        (Web(host="0.0.0.0", enabled=False), ""),
        (Web(host="0.0.0.0", port=0), ""),
        (Web(host="0.0.0.0"), f"http://{platform.node()}:8080/"),
        (Web(host="fe80::1", port=443, certificate=Path("c"), key=Path("k")), "https://[fe80::1]:443/"),
        (Web(host="board.example", port=80), "http://board.example:80/"),
    ],
)
def test_home_assistant_gets_the_address_of_a_console_that_other_machines_can_reach(web, address):
    pytest.importorskip("fastapi")
    assert console_address(web) == address


@pytest.mark.parametrize(
    "content, said",
    [
        ("zones.steps.points = [[0, 0], [1, 1], [1, 0], [0, 1]]", "zones.steps.points: the edges from corner 1"),
        ("zones.steps.points = [[0, 0], [1, 1]]", "zones.steps.points: a polygon needs 3 corners or more, not 2"),
        (
            "masks.street.points = [[0, 0], [10, 0], [0, 1]]",
            "masks.street.points[1][0] is 10.0, but must be from 0 to 1",
        ),
        ("zones.steps.points = [0]", "zones.steps.points[0] is 0, but must be a list"),
        ("zones.steps = [[0, 0]]", "zones.steps is [[0, 0]], but must be a table"),
        ("zones.steps.points = []", "a polygon needs 3 corners or more, not 0"),
        ("zones.' '.points = [[0, 0], [1, 0], [0, 1]]", "the name must be visible text"),
        ("min_face = 60", "min_face is 60.0, but must be from 0 to 1"),
        ("schedule.night.hours = ['22-6']", "schedule.night: '22-6' are no hours of a day"),
        ("schedule.night.days = ['monday']", "schedule.night.days[0] is 'monday', but must be one of mon, tue"),
        ("schedule.night.time_zone = 'Warsaw'", "schedule.night: there is no time zone 'Warsaw'"),
    ],
)
def test_zones_and_schedules_that_cannot_be_used_are_explained(problems, content, said):
    [problem] = problems(f"[camera.door]\nsource = '0'\n{content}")
    assert problem.startswith("camera.door.") and said in problem


def test_a_camera_may_have_a_limited_number_of_zones(problems):
    zones = "".join(f"zones.z{number}.points = [[0, 0], [1, 0], [0, 1]]\n" for number in range(17))
    [problem] = problems(f"[camera.door]\nsource = '0'\n{zones}")
    assert "camera.door.zones: a camera may have 16 of them, not 17" in problem


RECEIVERS = """
[events.webhook]
url = "https://example.org/hook"
picture = "face"
picture_as = "url"
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[notify.phone]\n", "notify.phone.url is missing"),
        ('[notify.phone]\nurl = "ntfy://tk_12345@host/topic"\n', "notify.phone.url: write env:NAME or file:PATH"),
        ('[notify.phone]\nurl = "env:"\n', "notify.phone.url: write env:NAME or file:PATH"),
        ('[notify."a/b"]\nurl = "env:A"\n', "notify.a/b: the name of a receiver must be 1 to 40 letters, digits"),
        ('[notify.phone]\nurl = "env:A"\npicture = "body"\n', "notify.phone.picture is 'body', but must be one of"),
        ('[events.mqtt]\nhost = "h"\npicture = true\n', "events.mqtt.picture is True, but must be one of"),
        (RECEIVERS, "events.webhook.picture_as: links lead to the console, which other machines cannot reach"),
        (f'{RECEIVERS}\n[alert_pictures]\naddress = "board:8080"\n', "alert_pictures.address: the address"),
        ("[alert_pictures]\nhours = 1000\n", "alert_pictures.hours is 1000.0, but must be"),
    ],
)
def test_mistakes_about_receivers_of_alerts_are_explained(tmp_path, text, problem):
    path = tmp_path / "rkface.toml"
    path.write_text(text)
    found, problems = config.check_settings(path)
    assert found is None and len(problems) == 1 and problem in problems[0], problems
    assert "tk_12345" not in problems[0]


def test_receivers_of_alerts_are_read_and_shown_without_secrets(tmp_path):
    path = tmp_path / "rkface.toml"
    path.write_text(
        f'{RECEIVERS}\n[alert_pictures]\naddress = "https://faces.example"\n'
        '[notify.phone]\nurl = "env:PHONE"\npicture = "frame"\n'
    )
    settings = config.read_settings(path)
    assert settings.notify["phone"].picture == "frame" and settings.receivers == ("stdout", "webhook", "notify.phone")
    leaked = replace(settings, notify={"phone": replace(settings.notify["phone"], url="ntfy://tk_12345@host/topic")})
    assert (
        "tk_12345" not in repr(config.hide_secrets(leaked)) and config.hide_secrets(settings).notify == settings.notify
    )


def test_secrets_that_are_written_into_the_file_are_not_shown(tmp_path, capsys):
    """They are refused later, but somebody may paste what `rkface config show` prints into a report first."""
    path = tmp_path / "rkface.toml"
    path.write_text(
        '[hub]\naddress = "postgresql://board:tk_12345@db.example/rkface"\n'
        '[events.mqtt]\nhost = "broker"\npassword = "tk_12345"\n'
        '[events.webhook]\nurl = "https://hooks.example/"\nsecret = "whsec_tk_12345"\n'
    )
    for more in ([], ["--json"]):
        assert main(["config", "show", str(path), *more]) == 0
        assert "tk_12345" not in "".join(capsys.readouterr())
    named = path.read_text().replace("tk_12345", "").replace("postgresql", "env")
    path.write_text(re.sub(r'(address|password|secret) = ".*"', r'\1 = "env:RKFACE_SECRET"', named))
    assert main(["config", "show", str(path)]) == 0
    assert capsys.readouterr().out.count('"env:RKFACE_SECRET"') == 3
