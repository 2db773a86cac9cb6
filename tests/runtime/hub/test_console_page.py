"""The hub's page in a real browser: sign in by keyboard, see boards and appearances change, on a desktop and a phone.

Screenshots are written to the folder $RKFACE_SCREENSHOTS, if it is set.
"""

import os
from itertools import pairwise
from pathlib import Path

import pytest

for needed in ("fastapi", "uvicorn", "argon2", "websockets", "httpx"):
    pytest.importorskip(needed, reason="the page of the hub needs rkface[web]")

from rkface.runtime.hub.boards import add_board, revoke_board
from rkface.runtime.hub.people import add_person
from rkface.runtime.hub.push import send_heartbeat
from rkface.runtime.hub_console.app import open_hub_console
from rkface.runtime.web.password import write_password

from ..web import chromium
from ..web.test_page_accessibility import AXE, HEADINGS, NAMELESS, PALE, axe
from .conftest import ONE, sample
from .test_console import PASSWORD, STATE, appearance_event, insert

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium.program() is None, reason="needs Chromium")]


def check_view(page, width):
    """Names for screen readers, contrast, headings and width, as at the console."""
    assert page.run(NAMELESS) == [] and page.run(PALE) == []
    levels = page.run(HEADINGS)
    assert levels[0] == 1 and levels.count(1) == 1 and all(below - above <= 1 for above, below in pairwise(levels))
    assert page.run("document.documentElement.scrollWidth") <= width
    if checker := axe():
        page.run(f"{checker}; 1")
        assert page.run(AXE) == []


def save(page, name):
    if folder := os.environ.get("RKFACE_SCREENSHOTS"):
        page.screenshot(Path(folder) / f"{name}.png")


def test_boards_appearances_and_people_are_shown_and_refresh_themselves(hub, database, board, tmp_path, browser):
    write_password(tmp_path / "password", PASSWORD)
    with (
        board("door-1", "east") as (own, gallery),
        open_hub_console(database, "127.0.0.1", 0, password_file=tmp_path / "password") as address,
        browser.private_page() as page,
    ):
        person = add_person(hub, "<b>Ada</b>", ["east"], [sample(1)], ONE)
        page.look(1280, 800)
        page.open(address)
        page.shows("Sign in")
        page.write(PASSWORD)  # the field has the focus
        page.press("Enter")
        page.shows("never seen")
        send_heartbeat(own, gallery, STATE)
        insert(own, "door-1", appearance_event(1_700_000_000.0, "start", 0.0, person))
        for text in ("door-1", "0.2.0", "3 events", "52 °C", "1 change behind", "<b>Ada</b>", "still there"):
            page.shows(text)
        add_board(hub, "door-2", "west", 3600.0)
        revoke_board(hub, "door-2")
        page.shows("revoked")
        for dark, width in ((False, 1280), (True, 1280), (False, 360), (True, 360)):
            page.look(width, 800, dark=dark, phone=width < 500)
            for view, text in (("boards", "door-2"), ("people", "known at east")):
                page.open(f"{address}/#/{view}")
                page.shows(text)
                check_view(page, width)
                save(page, f"hub-{view}-{width}-{'dark' if dark else 'light'}")
        page.fill("#name", "nobody of this name")
        page.shows("Nobody.")
        page.open(f"{address}/#/boards")
        page.press("Tab", 2)  # "Skip to content", then the menu of the phone
        page.press("Enter")
        page.press("Tab", 1)
        page.press("Enter")
        page.shows("door-1")
        assert page.problems == []
