"""Zones and masks drawn in a browser, with mouse, touch and keyboard, and cameras switched off and on."""

import json

import pytest

from .chromium import program
from .conftest import eventually

pytestmark = [pytest.mark.slow, pytest.mark.skipif(program() is None, reason="no Chromium")]

DOOR = "/v1/cameras/door"
STAGE = "document.querySelector('.stage').getBoundingClientRect()"


@pytest.fixture
def door(client):
    yield client
    client.delete(f"{DOOR}/area")
    client.delete(f"{DOOR}/schedule")
    client.put(f"{DOOR}/switch", json={"on": None})


@pytest.fixture
def editor(page, address, door):
    """The page with the zones of the camera."""
    page.look(1280, 800)
    page.open(f"{address}/#/cameras/door")
    page.shows("Zones and masks of door", "h1")
    page.until("document.querySelector('.stage img').naturalWidth > 0")
    page.problems.clear()
    yield page
    assert page.problems == []
    page.look(1280, 800)


def corners(page):
    """Where the corners are that can be moved, in thousandths of the picture."""
    places = page.run("[...document.querySelectorAll('.corner')].map((one) => [one.style.left, one.style.top])")
    return [[round(10 * float(value.rstrip("%"))) for value in place] for place in places]


def place_of(page, x, y):
    """The pixel of a place in the picture, in fractions of it."""
    left, top, width, height = page.run(
        f"(() => {{ const b = {STAGE}; return [b.left, b.top, b.width, b.height]; }})()"
    )
    return left + x * width, top + y * height


def drag(page, start, end):
    page.run("document.querySelector('.stage').scrollIntoView({ block: 'center' })")
    (x1, y1), (x2, y2) = place_of(page, *start), place_of(page, *end)
    page.call("Input.dispatchMouseEvent", type="mousePressed", x=x1, y=y1, button="left", clickCount=1)
    for part in (0.3, 0.7, 1.0):
        x, y = x1 + part * (x2 - x1), y1 + part * (y2 - y1)
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
    page.call("Input.dispatchMouseEvent", type="mouseReleased", x=x2, y=y2, button="left", clickCount=1)


def drag_by_touch(page, start, end):
    page.run("document.querySelector('.stage').scrollIntoView({ block: 'center' })")
    places = [place_of(page, *start), place_of(page, *(sum(pair) / 2 for pair in zip(start, end, strict=True)))]
    places.append(place_of(page, *end))
    for kind, (x, y) in zip(("touchStart", "touchMove", "touchMove"), places, strict=True):
        page.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
    page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def area(client):
    return client.get(DOOR).json()["area"]


def save(page):
    page.click("button.main", "Save")
    page.shows("Saved", "#message")
    page.run("document.getElementById('message').textContent = ''")


def test_a_zone_is_drawn_with_the_mouse(editor, door, shot):
    editor.click("button", "Add a zone")
    assert corners(editor) == [[350, 300], [650, 300], [650, 700], [350, 700]]
    editor.write("steps")  # its name is selected
    drag(editor, (0.35, 0.3), (0.1, 0.05))
    assert abs(corners(editor)[0][0] - 100) <= 3 and abs(corners(editor)[0][1] - 50) <= 3
    editor.click(".add[data-place='1']")
    assert len(corners(editor)) == 5 and corners(editor)[2] == [650, 500]
    drag(editor, (0.65, 0.5), (0.9, 0.5))
    editor.click("button", "Add a mask")
    drag(editor, (0.65, 0.7), (1.5, 1.5))  # beyond the picture: its corner
    assert corners(editor)[2] == [1000, 1000]
    editor.shows("Not saved yet")
    shot("zones-wide")
    save(editor)
    now = area(door)
    assert list(now["zones"]) == ["steps"] and list(now["masks"]) == ["mask 1"]
    assert now["masks"]["mask 1"]["points"][2] == [1, 1] and len(now["zones"]["steps"]["points"]) == 5
    editor.shows("Changed here on")
    editor.click("button", "Back to the configuration")
    editor.click("dialog button", "Discard it")
    editor.shows("As in the configuration again", "#message")
    assert area(door)["zones"] == {}


def test_a_zone_is_drawn_with_the_keyboard(editor, door):
    editor.run("[...document.querySelectorAll('button')].find((one) => one.textContent === 'Add a zone').focus()")
    editor.press("Enter")
    editor.until("document.activeElement.getAttribute('aria-label') === 'Name of the zone'")
    editor.write("door")
    editor.run("document.querySelector('.corner').focus()")
    editor.press("ArrowRight", 3)
    editor.press("ArrowUp", 2)
    assert corners(editor)[0] == [380, 280]
    label = editor.run("document.activeElement.getAttribute('aria-label')")
    assert label == "Corner 1 of door: 38 % from the left, 28 % from the top"
    editor.press("Tab")  # + between the first two
    editor.press("Enter")
    assert len(corners(editor)) == 5
    editor.press("Delete", 2)  # the corner that has the focus, and the next one
    assert len(corners(editor)) == 3
    editor.press("Delete")
    editor.shows("A polygon needs three corners")
    editor.press("ArrowLeft", 200)
    assert min(place[0] for place in corners(editor)) == 0, "it stays in the picture"
    editor.run("document.getElementById('min-face').focus()")
    editor.press("ArrowRight", 4)
    editor.shows("2 % of the picture's height, 7 of 360 pixels")
    editor.run("document.querySelector('button.main').focus()")
    editor.press("Enter")
    editor.shows("Saved", "#message")
    assert len(area(door)["zones"]["door"]["points"]) == 3 and area(door)["min_face"] == 0.02


def test_on_a_phone_a_corner_is_dragged_with_a_finger(editor, door, shot):
    editor.look(360, 640, phone=True)
    editor.call("Emulation.setTouchEmulationEnabled", enabled=True)
    editor.click("button", "Add a mask")
    drag_by_touch(editor, (0.35, 0.3), (0.05, 0.1))
    assert abs(corners(editor)[0][0] - 50) <= 8 and abs(corners(editor)[0][1] - 100) <= 12
    editor.click("button", "Remove the corner")  # a phone has no Delete key
    assert len(corners(editor)) == 3
    size = "document.querySelector('.corner').getBoundingClientRect()"
    assert editor.run(f"Math.min({size}.width, {size}.height)") >= 40, "large enough for a finger"
    assert editor.run("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
    shot("zones-phone")
    editor.look(360, 640, dark=True, phone=True)
    shot("zones-phone-dark")
    save(editor)
    assert len(area(door)["masks"]) == 1
    editor.call("Emulation.setTouchEmulationEnabled", enabled=False)


def test_a_polygon_that_crosses_itself_is_marked_and_not_saved(editor, door):
    editor.click("button", "Add a zone")
    drag(editor, (0.35, 0.3), (0.9, 0.5))
    editor.until("Boolean(document.querySelector('polygon.wrong'))")
    editor.click("button.main", "Save")
    editor.shows("The edges of zone 1 cross: move a corner", "main [role=alert]")
    assert area(door)["zones"] == {}
    drag(editor, (0.9, 0.5), (0.35, 0.3))
    editor.click("button", "Add a zone")
    editor.write("zone 1")
    editor.click("button.main", "Save")
    editor.shows("Two zones are named zone 1", "main [role=alert]")
    editor.write(" ")
    editor.click("[aria-label='Delete zone 1']")
    editor.click("[aria-label='Delete zone 1'], [aria-label='Delete  ']")
    assert editor.run("document.querySelectorAll('polygon').length") == 0
    save(editor)


def test_a_name_is_shown_as_text(editor, door):
    name = '<img src=x onerror="alert(1)">'
    triangle = {"points": [[0, 0], [1, 0], [0.5, 1]]}
    assert door.put(f"{DOOR}/area", json={"zones": {name: triangle}, "masks": {}}).status_code == 200
    editor.run("location.reload()")
    editor.until(f"document.querySelector('.rows input')?.value === {json.dumps(name)}")


def test_a_camera_is_switched_off_and_on(page, address, door, service, shot):
    page.look(1280, 800)
    page.open(f"{address}/#/cameras")
    page.shows("door", "main h2")
    page.click("main button", "Switch off")
    page.shows("Switched off: no picture is read. Switched by hand.")
    assert "null" not in page.run("document.querySelector('main').innerText")
    eventually(lambda: service.workers["door"].camera._stream is None, "the device is released")
    shot("cameras-off")
    page.look(1280, 800, dark=True)
    shot("cameras-off-dark")
    page.open(f"{address}/#/live")
    page.shows("This camera is switched off")
    page.open(f"{address}/#/health")
    page.shows("switched off", "table")
    page.shows("Everything works")
    page.look(360, 640)
    page.open(f"{address}/#/cameras/door")
    page.shows("The camera is switched off")
    page.open(f"{address}/#/cameras")
    page.click("main button", "Switch on")
    page.shows("On.")
    eventually(lambda: service.latest("door"), "a picture again")
    page.problems[:] = [one for one in page.problems if "404" not in one]  # the picture of a camera that is off
    assert page.problems == []
    page.look(1280, 800)


def test_a_schedule_is_made_and_reset_with_the_keyboard_and_on_a_phone(page, address, door, service, shot):
    page.look(360, 740, phone=True)
    page.problems.clear()
    page.open(f"{address}/#/cameras")
    page.shows("Schedule always on", "main")
    page.click("main a", "Schedule")
    page.shows("the camera is always on", "main")
    page.click("main button", "Add hours")
    page.until("document.activeElement.id.startsWith('hours-')")  # its name
    page.write("night")
    page.click("label.choice", "Monday")
    page.fill("input[id$=-hours]", "22-6")
    page.press("Enter")
    page.shows("night: '22-6' are no hours of a day", "main [role=alert]")
    page.fill("input[id$=-hours]", "22:00-06:00")
    page.fill("input[id$=-zone]", "Europe/Warsaw")
    for dark in (False, True):
        page.look(360, 740, phone=True, dark=dark)
        assert page.run("document.documentElement.scrollWidth") <= 360
        shot(f"schedule-phone-{'dark' if dark else 'light'}")
    page.look(1280, 800)
    page.click("button.main", "Save")
    page.shows("Changed here", "main")
    shot("schedule-wide")
    hours = door.get(DOOR).json()["schedule"]["night"]
    assert (hours["days"], hours["hours"], hours["time_zone"]) == (["mon"], ["22:00-06:00"], "Europe/Warsaw")
    page.open(f"{address}/#/cameras")
    page.shows("night: mon, 22:00-06:00 (Europe/Warsaw)", "main")
    shot("cameras-wide")
    page.open(f"{address}/#/cameras/door?edit=schedule")
    page.click("main button", "Back to the configuration")
    page.click("dialog button", "Discard them")
    page.shows("the camera is always on", "main")
    assert door.get(DOOR).json()["schedule"] == {}
    assert page.problems == [] or all("/schedule" in one for one in page.problems)
    page.problems.clear()
