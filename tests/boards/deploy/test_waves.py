"""The waves of a roll-out: which boards are reached, and when it stops."""

import os
import signal
import threading
from argparse import ArgumentTypeError

import pytest

from rkface.boards.deploy.waves import ONE_WAVE, Waves, parse_waves, roll_out, set_on_interrupt, split_into_waves

BOARDS = list("abcdefgh")


@pytest.mark.parametrize(
    ("text", "waves", "left"),
    [
        ("1,5,rest", ["a", "bcdef", "gh"], ""),
        (" 1 , 2 ", ["a", "bc"], "defgh"),
        ("8,rest", ["abcdefgh"], ""),
        ("3,9,4,rest", ["abc", "defgh"], ""),
        ("rest", ["abcdefgh"], ""),
    ],
)
def test_waves_are_the_first_boards_then_the_next_ones(text, waves, left):
    assert split_into_waves(BOARDS, parse_waves(text)) == ([list(wave) for wave in waves], list(left))


@pytest.mark.parametrize(
    "text", ["0", "1,0,rest", "", "1,,2", "rest,1", "1,rest,rest", "-1", "1.5", "all", "²", "9" * 99]
)
def test_other_waves_are_refused(text):
    with pytest.raises(ArgumentTypeError, match=r"1,5,rest|only be the last wave"):
        parse_waves(text)


def run(text, bad="", parallel=3):
    """The boards that were begun, and how the roll-out ended. Those in ``bad`` fail."""
    begun, stop = [], threading.Event()

    def work(board, wave):
        begun.append(f"{wave}{board}")
        return board

    waves, _ = split_into_waves(BOARDS, parse_waves(text) if text else ONE_WAVE)
    end = roll_out(waves, work, lambda board: board in bad, parallel, stop)
    return sorted(begun), end


def test_a_wave_begins_only_if_all_boards_of_the_wave_before_succeeded():
    begun, end = run("1,3,rest", bad="c")
    assert begun == ["1a", "2b", "2c", "2d"], "boards of the same wave are not stopped by one that failed"
    assert end.waves == (("a",), ("b", "c", "d")) and end.untouched == tuple("efgh") and not end.interrupted
    begun, end = run("1,3,rest")
    assert len(begun) == 8 and end.untouched == ()
    assert run("", bad="a")[1].waves == (tuple(BOARDS),)


def test_no_more_boards_than_allowed_are_in_work_at_the_same_time():
    """Three boards wait for one another, so fewer would never end; a fourth would be counted."""
    together, lock, now, most = threading.Barrier(3), threading.Lock(), [0], [0]

    def work(board, wave):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait(30)
        with lock:
            now[0] -= 1
        return board

    boards = list("abcdef")
    assert roll_out([boards], work, lambda _: False, 3, threading.Event()).waves == (tuple(boards),)
    assert most == [3]


def test_after_ctrl_c_no_board_is_begun_and_those_in_work_end():
    stop, begun = threading.Event(), []

    def work(board, wave):
        begun.append(board)
        if board == "b":
            os.kill(os.getpid(), signal.SIGINT)  # the main thread starts boards, or waits for them
        assert stop.wait(30)
        return board

    with set_on_interrupt(stop):
        end = roll_out([["a", "b", "c", "d"], ["e"]], work, lambda _: False, 2, stop)
    assert end.interrupted and end.waves == (("a", "b"),) and end.untouched == ("c", "d", "e")
    assert sorted(begun) == ["a", "b"]


def test_the_default_is_one_wave():
    assert Waves() == ONE_WAVE == parse_waves("rest")
