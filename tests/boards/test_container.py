"""Dockerfile and compose.yaml: rights, devices and packages of the container. It cannot be built here."""

import json
import re
import shlex
from argparse import ArgumentParser
from pathlib import Path

import yaml

from rkface.boards.deploy.dependencies import SERVICE_EXTRAS
from rkface.boards.doctor.command import doctor
from rkface.runtime.cli.run import run
from rkface.runtime.core.versions import TOOLKIT
from rkface.runtime.service import config

BOARDS = Path(__file__).resolve().parents[2] / "boards"


def compose():
    [service] = yaml.safe_load((BOARDS / "compose.yaml").read_text())["services"].values()
    return service


def test_the_container_may_use_the_npu_and_the_camera_and_nothing_else():
    service = compose()
    assert "privileged" not in service and service["cap_drop"] == ["ALL"] and service["read_only"] is True
    assert "no-new-privileges" in service["security_opt"]
    devices = {device.split(":")[0] for device in service["devices"]}
    assert {"/dev/dri", "/dev/video0"} <= devices and all(device.startswith("/dev/") for device in devices)


def test_the_boards_own_librknnrt_and_the_bundle_are_mounted_read_only_and_state_is_kept():
    mounts = dict(mount.split(":", 1) for mount in compose()["volumes"])
    assert mounts["/usr/lib/librknnrt.so"] == "/usr/lib/librknnrt.so:ro"
    assert mounts["./bundle"] == "/bundle:ro" and mounts["state"] == "/var/lib/rkface"


def test_compose_requires_the_numbers_of_groups_and_says_so():
    assert all(re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", group) for group in compose()["group_add"])


def test_the_image_runs_as_a_user_and_has_the_toolkit_of_the_bundles():
    text = (BOARDS / "Dockerfile").read_text()
    assert f"rknn-toolkit-lite2=={TOOLKIT}" in text
    assert re.search(r"^USER 10001$", text, re.M) and "librknnrt" not in re.sub(r"^#.*$", "", text, flags=re.M)


def command(text, word):
    return json.loads(re.search(rf"^{word} (\[.+\])$", text, re.M)[1])


def test_the_image_runs_the_service_and_can_run_doctor():
    text, service = (BOARDS / "Dockerfile").read_text(), compose()
    assert command(text, "ENTRYPOINT") == ["rkface"] and command(text, "CMD") == service["command"]
    for declare, (word, *options) in (
        (run, service["command"]),
        (doctor, re.search(r"run --rm rkface (doctor .+?)  ", (BOARDS / "compose.yaml").read_text())[1].split()),
    ):
        parser = ArgumentParser()
        declare(parser)
        assert (word, str(parser.parse_args(options).bundle)) == (declare.__name__, "/bundle")


def test_the_default_configuration_keeps_names_out_of_dockers_log(tmp_path):
    said = re.search(r"printf ('.+?') > /etc/rkface/rkface.toml", (BOARDS / "Dockerfile").read_text())[1]
    (tmp_path / "rkface.toml").write_text(shlex.split(said)[0].replace("\\n", "\n"))
    assert config.read_settings(tmp_path / "rkface.toml").events.stdout is False


def test_the_image_has_what_the_console_and_its_health_check_need():
    installed = re.search(r"pip install .+?&&", (BOARDS / "Dockerfile").read_text(), re.S)[0].split()
    assert f'"rkface[{",".join((*SERVICE_EXTRAS, "notify", "hub"))}]"' in installed
    check = compose()["healthcheck"]
    program = check["test"][-1]
    compile(program, "healthcheck", "exec")
    assert check["test"][:3] == ["CMD", "python", "-c"] and "http://127.0.0.1:8080/" in program
    assert compose()["stop_grace_period"] == "30s"
