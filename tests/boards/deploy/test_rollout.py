"""Roll-outs to three boards behind one sshd on loopback, each with a root folder of its own."""

import json
import re
from functools import partial

import pytest

from rkface.boards.deploy.board_lines import BoardLines
from rkface.runtime.core.errors import InputError

from .conftest import stand_in_wheel

# The selftest of door-2 fails: the programs on a board see which board it is.
SECOND_FAILS = partial(stand_in_wheel, selftest='int(__import__("os").environ["BOARD"] == "door-2")')


def test_a_roll_out_stops_after_the_wave_with_a_board_that_fails(fleet, capsys):
    fleet.stamp("1")
    assert fleet.deploy("--group", "doors", "--wave", "1,1,rest", "--json", make=SECOND_FAILS) == 1
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["verdict"] == "fail"
    assert [(one["name"], one["state"], one["wave"]) for one in result["boards"]] == [
        ("door-1", "ok", 1),
        ("door-2", "failed", 2),
        ("door-3", "untouched", 0),
    ]
    assert "selftest: the selftest failed" in result["boards"][1]["problem"]
    [first, second, third] = fleet.current_releases()
    assert first == result["boards"][0]["release"] and (second, third) == ("", "")
    assert not (fleet.root / "door-3").exists(), "a board that was not reached is not touched"
    assert [line.split()[:2] for line in said.err.splitlines()] == [["door-1", "ok"], ["door-2", "FAILED"]]

    # The report asks all boards, also one that cannot be reached.
    assert fleet.deploy("--status", "--json") == 1
    status = json.loads(capsys.readouterr().out)["boards"]
    assert [one["status"]["release"] for one in status] == [first, "", "", ""]
    assert status[0]["status"]["bundle"] == "tiny" and "Connection refused" in status[3]["problem"]
    assert fleet.deploy("--status", "--group", "doors") == 0
    said = capsys.readouterr().out
    assert "2 boards: no release; 1 board: " + first in said and "door-3  none" in said

    # After a repair, the boards that have the same files already are skipped.
    fleet.stamp("2")
    assert fleet.deploy("door-1", "door-3", "--if-changed", make=SECOND_FAILS) == 0
    said = capsys.readouterr().out
    assert "1 had the same release already" in said and "same" in said
    assert [name[:1] for name in fleet.current_releases()] == ["1", "", "2"]


def test_the_table_says_what_was_not_reached(fleet, capsys):
    fleet.inventory.write_text('[board.away]\nhost = "closed"\n[board.next]\nhost = "door-3"\n')
    assert fleet.deploy("--wave", "1,rest") == 1
    said = capsys.readouterr().out
    assert "FAILED  wave 1  away" in said and "untouched" in said and "a board of wave 1 failed" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--group", "windows"], "has no group 'windows'"),
        (["door-4"], "has no board 'door-4': did you mean door-"),
        (["--status", "--service"], "--status changes nothing"),
        (["--status", "--wave", "1"], "--status changes nothing"),
        (["--allowed-signers", "x"], "only work with --prepare"),
        (["--allowed-signers", "x", "--prepare"], "give --sign KEY too"),
        (["--sign", "/none"], "no such key"),
        (["--rollback", "--sign", "x"], "leave out"),
    ],
)
def test_wrong_use_is_refused_before_any_connection(fleet, arguments, says):
    with pytest.raises(InputError, match=says):
        fleet.deploy(*arguments)
    assert not fleet.root.exists()


class Terminal:
    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def flush(self):
        pass

    def write(self, text):
        self.text += text


def test_on_a_terminal_each_board_has_one_line():
    """The text is drawn on a screen of lines: the cursor moves up, and clears what is below."""
    terminal = Terminal()
    lines = BoardLines(terminal)
    with lines.step("door-1", "copy"), lines.step("door-2", "connect"):
        lines.finish("door-1", "ok")
        lines.finish("door-2", "FAILED")
    screen, row = [], 0
    for up, clear, line in re.findall(r"\x1b\[(\d+)A|(\r\x1b\[J)|([^\x1b\r\n]*)\n", terminal.text):
        if up:
            row -= int(up)
        elif clear:
            screen = screen[:row]
        else:
            screen[row:] = [line.split()]
            row += 1
    assert "door-1                   copy …" in terminal.text
    assert screen == [["door-1", "ok"], ["door-2", "FAILED"]]
