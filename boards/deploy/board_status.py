"""``rkface deploy --status``: which release each board runs, who deployed it, and whether its service runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rkface.boards.board_answers import RELEASE, check_type, check_word, clean_text
from rkface.runtime.core.errors import RkfaceError

from .session import AgentSession
from .target_board import TargetBoard

MOST_WORD = 200  # characters of a text of release.json


@dataclass(frozen=True)
class ReleaseStatus:
    """What a board runs; "" for what it does not know.

    release   name of the current release
    bundle    name of its bundle
    deployed  when, as a time stamp in UTC
    by        user and machine that deployed it
    signer    who signed it
    contents  what tells releases with the same files from others (release_files.py)
    service   "active" or "not active"; "" if it has no service
    """

    release: str = ""
    bundle: str = ""
    deployed: str = ""
    by: str = ""
    signer: str = ""
    contents: str = ""
    service: str = ""


@dataclass(frozen=True)
class BoardStatus:
    """The ``status`` of a board, or the ``problem`` because of which it is not known."""

    name: str
    host: str
    status: ReleaseStatus
    problem: str = ""


def ask_status(board: AgentSession) -> ReleaseStatus:
    """What ``board`` runs. Raises WorkError if it does not answer, or with something else."""
    return parse_status(board.request("status"))


def parse_status(answer: Any) -> ReleaseStatus:
    """Raises WorkError if ``answer`` is not what the agent answers to ``status``."""
    found = check_type(answer, dict, "what it runs")
    record = check_type(found.get("record"), dict, "the record of its release")
    release = found.get("release")

    def text(value: Any) -> str:
        return clean_text(value, MOST_WORD) if isinstance(value, str) else ""

    return ReleaseStatus(
        "" if release is None else check_word(release, RELEASE, "its release"),
        **{key: text(record.get(key)) for key in ("bundle", "deployed", "by", "signer", "contents")},
        service=text(found.get("service")),
    )


def board_status(target: TargetBoard, root: str) -> BoardStatus:
    """The status of one board; errors end up in it, so that other boards are asked too."""
    try:
        with AgentSession(target.host, root, target.options) as board:
            return BoardStatus(target.name, target.host, ask_status(board))
    except (RkfaceError, OSError) as error:
        return BoardStatus(target.name, target.host, ReleaseStatus(), clean_text(error, 10_000))


def render_status(boards: Sequence[BoardStatus]) -> str:
    """A row for each board, and how many boards run each release."""
    rows = [("board", "release", "bundle", "service", "signed by", "deployed by")]
    for board in boards:
        found = board.status
        rows.append(
            (board.name, f"? {board.problem}", "", "", "", "")
            if board.problem
            else (
                board.name,
                found.release or "none",
                found.bundle,
                found.service or "none",
                found.signer or "-",
                found.by,
            )
        )
    wide = [row for row, board in zip(rows[1:], boards, strict=True) if not board.problem]
    widths = [max(len(row[column]) for row in (rows[0], *wide)) for column in range(6)]
    widths[0] = max(len(row[0]) for row in rows)
    lines = ["  ".join(f"{word:{width}}" for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    counts = Counter(board.status.release or "no release" for board in boards if not board.problem)
    unknown = sum(bool(board.problem) for board in boards)
    summary = [f"{count} {'board' if count == 1 else 'boards'}: {name}" for name, count in counts.most_common()]
    summary += [f"{unknown} not reached"] if unknown else []
    return "\n".join([*lines, "; ".join(summary)])
