"""Views draw themselves again while somebody uses them: the focus stays, and how far a table is scrolled."""

import pytest

from . import chromium

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium.program() is None, reason="needs Chromium")]
FOCUS = "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent)"


def test_the_tables_of_health_stay_scrolled_and_focused(page, address):
    page.look(360, 800, phone=True)
    page.open(f"{address}/#/health")
    page.until("document.querySelector('.scroll') !== null")
    page.run(
        "(() => { window.old = document.querySelector('.scroll'); old.focus(); old.scrollLeft = 1e4; "
        "window.far = old.scrollLeft; })()"
    )
    assert page.run("far") > 0
    page.until("!old.isConnected")
    assert page.run(FOCUS) == "Cameras"
    assert page.run("document.activeElement.scrollLeft") == page.run("far")
    page.look(1280, 800)


def test_the_focus_stays_when_a_camera_is_switched_off_elsewhere(page, address, client):
    page.open(f"{address}/#/cameras")
    page.shows("Zones and masks", "main")
    page.run("[...document.querySelectorAll('main a')].find((one) => one.textContent === 'Schedule').focus(); 1")
    try:
        client.put("/v1/cameras/door/switch", json={"on": False})
        page.shows("Switch on", "main")
        assert page.run(FOCUS) == "Schedule"
    finally:
        client.put("/v1/cameras/door/switch", json={"on": None})


def test_the_list_of_appearances_does_not_move_if_its_use_begins_while_it_is_fetched(page, address):
    """The camera of this service always shows somebody, so that the list is fetched again and again."""
    page.open(f"{address}/#/appearances")
    page.until("document.querySelector('main ul.rows button') !== null")
    page.run(
        "(() => { window.held = []; window.answered = 0; const real = window.fetch; "
        "window.fetch = async (...given) => { if (held) await new Promise((resolve) => held.push(resolve)); "
        "try { return await real(...given); } finally { answered += 1; } }; })()"
    )
    page.until("held.length > 0")
    page.run(
        "(() => { window.used = document.querySelector('main ul.rows button'); used.focus(); "
        "const waiting = held; held = null; waiting.forEach((resolve) => resolve()); })()"
    )
    page.until("answered >= 2")  # appearances, and what people said about them
    page.run("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)))")
    assert page.run("used.isConnected && document.activeElement === used")
