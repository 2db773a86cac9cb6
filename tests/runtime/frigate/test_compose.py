"""The compose file in docs/frigate.md: what Docker would be asked for, as far as that can be checked without Docker."""

import re
import shlex
from argparse import ArgumentParser
from pathlib import Path

import pytest

from rkface.runtime.cli.frigate import frigate

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def documented():
    text = (ROOT / "docs/frigate.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```\n(services:\n.*?)```", text, re.DOTALL)
    (service,) = yaml.safe_load(block)["services"].values()
    return service


def test_its_command_is_one_that_rkface_has(documented):
    name, *options = shlex.split(documented["command"])
    parser = ArgumentParser()
    frigate(parser)
    parsed = parser.parse_args(options)
    assert name == "frigate" and parsed.url == "http://frigate:5000"
    targets = [volume.split(":")[1] for volume in documented["volumes"]]
    assert str(parsed.bundle) in targets and str(parsed.gallery.parent) in targets


def test_it_has_the_devices_and_rights_of_the_compose_file_for_boards(documented):
    board = yaml.safe_load((ROOT / "boards/compose.yaml").read_text())["services"]["rkface"]
    assert documented.keys() <= board.keys(), "keys that boards/compose.yaml, which is checked too, does not use"
    assert documented["image"] == board["image"] and set(documented["devices"]) <= set(board["devices"])
    assert set(documented["security_opt"]) <= set(board["security_opt"])
    assert documented["group_add"][0] == board["group_add"][0]
    library = next(volume for volume in board["volumes"] if "librknnrt" in volume)
    assert library in documented["volumes"]
