"""``rkface hub journeys`` and ``rkface hub attendance``: who was where, over all boards."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from ..core.arguments import integer_from, number_in
from ..core.errors import InputError
from ..core.text import counted, in_a_line
from .hub_options import add_hub, open_hub
from .options import add_json, print_json

if TYPE_CHECKING:
    from ..hub.connection import Hub
    from ..hub.journeys import Journey
    from ..hub.stored_stops import Selection

MINUTE = 60.0
PAGE = 100  # journeys in one transaction


def journeys(parser: ArgumentParser) -> None:
    """List journeys, newest first: one person in front of one camera after another, at any boards of the hub.

    Appearances of a person belong to one journey if no pause between them is longer than 30 minutes (--pause-minutes).
    Unknown people have no journeys, and nor have erased ones. What a board has not sent yet is missing.

    examples:
      rkface hub journeys --from 2026-11-29
      rkface hub journeys --person "Ada Lovelace" --site headquarters --from 2026-11-01 --to 2026-11-30
      rkface hub journeys --from 2026-11-29T08:00:00+01:00 --json
    """
    _add_selection(parser)
    parser.add_argument(
        "--from", dest="since", type=_from, metavar="TIME",
        help="only journeys that begin then or later: a day, or a time such as 2026-11-29T08:00:00+01:00",
    )  # fmt: skip
    parser.add_argument("--to", dest="until", type=_to, metavar="TIME", help="only those that begin until then")
    parser.add_argument(
        "--pause-minutes", type=number_in(1, 1440), default=30.0, metavar="MINUTES",
        help="the longest pause within a journey (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=integer_from(1), default=100, metavar="N", help="how many, at most (default: %(default)s)"
    )  # fmt: skip
    add_hub(parser)
    add_json(parser, "one journey per line")
    parser.set_defaults(run=_journeys)


def attendance(parser: ArgumentParser) -> None:
    """Write CSV with when each person was seen first and last on each day, and at which cameras.

    Times have the offset of the time zone, which is in each line; a day has 23 or 25 hours where clocks are changed.
    Who is seen over midnight counts on both days.

    The column not_watched lists when boards and cameras of the person's sites did not look, or could not tell the hub,
    for more than 5 minutes: who was not seen then may have been there. A line without a name does so for all sites,
    also on days without people.

    examples:
      rkface hub attendance --from 2026-11-01 --to 2026-11-30 --time-zone Europe/Warsaw > attendance.csv
      rkface hub attendance --from 2026-11-29 --to 2026-11-29 --time-zone UTC --site headquarters
    """
    _add_selection(parser)
    for name, text in (("from", "the first day, such as 2026-11-01"), ("to", "the last day, which is included")):
        parser.add_argument(f"--{name}", dest=f"{name}_day", type=_day, required=True, metavar="DAY", help=text)
    parser.add_argument(
        "--time-zone", required=True, metavar="ZONE", help="whose days count: a name such as Europe/Warsaw, or UTC"
    )
    add_hub(parser)
    parser.set_defaults(run=_attendance)


def _journeys(options: Namespace) -> int:
    from ..hub.journeys import read_journeys
    from ..hub.stored_stops import HubStops, reading

    if options.since is not None and options.until is not None and options.until < options.since:
        raise InputError("the end, --to, is before the start, --from: exchange them")
    left, before = options.limit, None
    with open_hub(options) as hub:
        selection = _select(hub, options)
        while True:
            with reading(hub):
                stored = HubStops(hub, selection, options.since, options.until)
                found, before = read_journeys(stored, min(left, PAGE), before, options.pause_minutes * MINUTE)
            for one in found:
                if options.json:
                    print_json(asdict(one))
                else:
                    _print(one)
            left -= len(found)
            if before is None or left <= 0:
                break
    if before is not None:
        print(f"rkface: only the newest {options.limit} are shown: use --limit, --from and --to", file=sys.stderr)
    return 0


def _print(journey: Journey) -> None:
    begun = _show(journey.started, "%Y-%m-%d %H:%M:%S")
    print(in_a_line(f"{journey.name}: {begun}, {counted(len(journey.stops), 'appearance')}"))
    for stop in journey.stops:
        end = "no end yet" if stop.lasts else f"to {_show(stop.last, '%H:%M:%S')}"
        print(in_a_line(f"  {_show(stop.started, '%H:%M:%S')} {end}  {stop.site}: {stop.board} / {stop.source}"))


def _show(seconds: float, layout: str) -> str:
    return datetime.fromtimestamp(seconds).strftime(layout)


def _attendance(options: Namespace) -> int:
    from ..hub.attendance import list_days, read_zone
    from ..hub.stored_stops import write_hub_attendance

    days = list_days(options.from_day, options.to_day, read_zone(options.time_zone))
    with open_hub(options) as hub:
        write_hub_attendance(hub, _select(hub, options), days, sys.stdout)
    return 0


def _add_selection(parser: ArgumentParser) -> None:
    parser.add_argument("--person", metavar="PERSON", help="only this person: name or id")
    parser.add_argument("--site", metavar="SITE", help="only what boards of this site saw")


def _select(hub: Hub, options: Namespace) -> Selection:
    from ..hub.people import check_site, find_person
    from ..hub.stored_stops import Selection

    if options.site is not None:
        check_site(hub, options.site)
    return Selection(find_person(hub, options.person).id if options.person is not None else None, options.site)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no day: write one such as 2026-11-29") from None


def _from(text: str) -> float:
    return _read_time(text, 0)


def _to(text: str) -> float:
    return _read_time(text, 1)


def _read_time(text: str, later: int) -> float:
    """Seconds since 1970. A day begins at midnight of this machine's time zone; it counts as ``later`` days after."""
    try:
        if len(text) == len("2026-11-29"):
            day = date.fromisoformat(text) + timedelta(days=later)
            return datetime(day.year, day.month, day.day).timestamp()
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        raise ArgumentTypeError(
            f"{text!r} is no time: write a day such as 2026-11-29, or a time such as 2026-11-29T08:00:00+01:00"
        ) from None
