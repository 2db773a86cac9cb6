"""Inventories: boards.toml, and those of Ansible."""

import json
import os
from contextlib import suppress
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.boards.deploy.ansible_inventory import parse_ansible_hosts
from rkface.boards.deploy.inventory import read_targets
from rkface.boards.deploy.target_board import TargetBoard
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.toml import read_toml

from .ansible import ansible_program

EXAMPLE = """
[board.door-1]
host = "radxa@10.0.0.1"
groups = ["doors", "canary"]
[board.desk]
host = "desk"
[board.door-2]
host = "radxa@10.0.0.2"
groups = ["doors"]
"""
# Of `ansible-inventory --list`, which leaves out what is empty.
LISTING = {
    "_meta": {
        "hostvars": {
            "door-1": {"ansible_host": "10.0.0.1", "ansible_user": "radxa", "ansible_port": 2222},
            "door-2": {"ansible_ssh_common_args": "-o ProxyJump=gate", "ansible_ssh_private_key_file": "/keys/a b"},
            "here": {"ansible_connection": "local"},
            "vault": {"ansible_user": "{{ secret }}"},
        }
    },
    "all": {"children": ["ungrouped", "site"]},
    "ungrouped": {"hosts": ["here", "vault"]},
    "site": {"children": ["doors"], "hosts": ["desk"]},
    "doors": {"hosts": ["door-1", "door-2"]},
}


def names(*arguments):
    return [target.name for target in read_targets(*arguments)]


@pytest.fixture
def boards(tmp_path):
    path = tmp_path / "boards.toml"
    path.write_text(EXAMPLE)
    return path


def test_boards_are_chosen_by_name_and_by_group_in_the_order_of_the_file(boards):
    assert names(boards, [], []) == ["door-1", "desk", "door-2"]
    assert names(boards, [], ["doors"]) == ["door-1", "door-2"]
    assert names(boards, ["desk", "door-1"], []) == ["door-1", "desk"]
    assert names(boards, ["desk"], ["canary"]) == ["door-1", "desk"]
    assert read_targets(boards, ["desk"], []) == (TargetBoard("desk", "desk"),)
    assert names(None, ["radxa@b", "radxa@a"], []) == ["radxa@b", "radxa@a"]


@pytest.mark.parametrize(
    ("text", "chosen", "groups", "says"),
    [
        ("", [], [], "has no board: add one"),
        (EXAMPLE, ["door-3"], [], "has no board 'door-3': did you mean door-"),
        (EXAMPLE, [], ["door"], "has no group 'door': did you mean doors"),
        ('[board.a]\nhost = "a"', [], ["x"], "has no group 'x': it has no group"),
        (EXAMPLE + '[board.gate]\nhost = "radxa@10.0.0.1"', [], [], "named twice, as door-1 and as gate"),
        ('[board.a]\nhost = "-oProxyCommand=x"', [], [], "is not a host"),
        ('[board."a\\u001b[2J"]\nhost = "a"', [], [], "is not a name for a board"),
        ("[board.a]", [], [], "board.a.host is missing"),
        ('[boards.a]\nhost = "a"', [], [], "did you mean board"),
        ('[board.a]\nhost = "a"\nhosts = "b"', [], [], "did you mean host"),
        ('[board.a]\nhost = "a"\ngroups = "doors"', [], [], "must be a list"),
        ("board = [", [], [], "not valid TOML"),
    ],
)
def test_a_wrong_inventory_is_refused(tmp_path, text, chosen, groups, says):
    (tmp_path / "boards.toml").write_text(text)
    with pytest.raises(InputError, match=r"boards\.toml|is not a|named twice") as error:
        read_targets(tmp_path / "boards.toml", chosen, groups)
    assert says in str(error.value)


def test_without_an_inventory_boards_must_be_named(tmp_path):
    for arguments, says in (
        ((None, [], []), "name the boards"),
        ((None, ["a"], ["doors"]), "--group needs the --inventory"),
        ((tmp_path / "none.toml", [], []), "none.toml"),
        ((tmp_path / "none", [], []), "no such inventory"),
        ((None, ["a", "a"], []), "a is named twice"),
    ):
        with pytest.raises(InputError, match=says):
            read_targets(*arguments)


def test_the_schema_that_is_printed_accepts_and_refuses_what_deploy_does(boards, capsys):
    from argparse import ArgumentParser

    from rkface.boards.deploy.command import deploy

    parser = ArgumentParser()
    deploy(parser)
    options = parser.parse_args(["--inventory-schema"])
    assert options.run(options) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.validate(read_toml(boards), schema)
    for wrong in ({"board": {"a": {}}}, {"board": {"a": {"host": 1}}}, {"boards": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_hosts_of_ansible_keep_how_ansible_connects_to_them():
    found = {target.name: target for target in parse_ansible_hosts(LISTING)}
    assert list(found) == ["here", "vault", "desk", "door-1", "door-2"]
    assert found["desk"] == TargetBoard("desk", "desk", ("all", "site"))
    assert found["door-1"] == TargetBoard("door-1", "radxa@10.0.0.1", ("all", "doors", "site"), ("-p", "2222"))
    assert found["door-2"].options == ("-i", "/keys/a b", "-o", "ProxyJump=gate")
    assert "connects with ssh" in found["here"].problem and "templates" in found["vault"].problem


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["all", "door"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["all", "hosts", "children", "_meta", "hostvars", "ansible_host"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(values)
def test_any_listing_is_read_or_refused(listing):
    with suppress(ValueError):
        assert all(isinstance(target.host, str) for target in parse_ansible_hosts(listing))


def test_groups_that_contain_each_other_are_refused():
    with pytest.raises(ValueError, match="contains itself"):
        parse_ansible_hosts({"all": {"children": ["a"]}, "a": {"children": ["all"]}})


def test_an_inventory_of_ansible_is_read_by_ansible(tmp_path, monkeypatch):
    """The real ansible-inventory; variables come from the file and from group_vars beside it."""
    path = tmp_path / "hosts"
    path.write_text("[doors]\ndoor-[1:2] ansible_host=10.0.0.1\n[local]\nhere ansible_connection=local\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="pip install ansible-core"):
        read_targets(path, [], [])
    monkeypatch.setenv("PATH", f"{Path(ansible_program('ansible-inventory')).parent}:{os.defpath}")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/doors.yml").write_text("ansible_user: radxa\nansible_port: 22{{ '' }}\n")
    with pytest.raises(InputError, match="templates"):
        read_targets(path, [], ["doors"])
    (tmp_path / "group_vars/doors.yml").write_text("ansible_user: radxa\n")
    with pytest.raises(InputError, match=r"radxa@10.0.0.1 is named twice, as door-1 and as door-2"):
        read_targets(path, [], ["doors"])
    assert read_targets(path, ["door-2"], [])[0].host == "radxa@10.0.0.1"
    path.write_text("[doors\n")
    with pytest.raises(InputError, match="hosts"):
        read_targets(path, [], [])
