"""Everybody can use the page: names for screen readers, contrast, the order of the focus, and headings.

axe-core (https://github.com/dequelabs/axe-core) checks what a program can check. `npm install axe-core` in this
repository, `pip install axe-core-python`, or a path in $AXE_CORE provide it; without it, only our own checks run.
"""

import os
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from . import chromium

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium.program() is None, reason="needs Chromium")]
LINKS = "[...document.querySelectorAll('nav a')].map((one) => one.hash)"


def axe():
    """The source of axe-core, or None."""
    package = find_spec("axe_core_python")
    found = [Path(os.environ.get("AXE_CORE", "-")), Path(__file__).parents[3] / "node_modules/axe-core/axe.min.js"]
    found += [Path(folder) / "axe.min.js" for folder in (package.submodule_search_locations if package else [])]
    return next((path.read_text(encoding="utf-8") for path in found if path.is_file()), None)


@pytest.fixture(scope="module")
def ada(service, portraits_of_two):
    """Somebody with a page of her own, so that it has all of its parts."""
    for name, images in zip(("Ada", "Bela"), portraits_of_two, strict=True):
        for number, image in enumerate(images):
            service.enrollment.enroll_photo(name, image, f"photo {number}", force=True)
    yield service.gallery.person("Ada")
    for person in service.gallery.people():
        service.erasure.forget(person.id)


@pytest.fixture
def views(page, address, ada):
    """Opens each view in turn, and yields its address."""

    def visit(dark, width):
        page.look(width, 800, dark=dark, phone=width < 500)
        page.open(address)
        for hash in [*page.run(LINKS), f"#/people/{ada.id}"]:
            page.open(f"{address}/{hash}")
            page.until("Boolean(document.querySelector('main h1'))")
            yield hash

    yield visit
    page.look(1280, 800)


# What a screen reader says of an element: https://www.w3.org/TR/accname-1.2/, as far as the page needs it.
NAMELESS = """
[...document.querySelectorAll('a, button, input, select, textarea, summary, [tabindex="0"], dialog')]
  .filter((one) => one.checkVisibility() && ![one.ariaLabel, one.innerText, one.title,
    ...[...(one.labels ?? [])].map((label) => label.innerText),
    document.getElementById(one.getAttribute('aria-labelledby'))?.innerText].some((text) => text?.trim()))
  .map((one) => one.outerHTML)
"""
# The contrast of each text to its ground (WCAG 2.2, 1.4.3: 4.5, and 3 for large text); disabled buttons are exempt.
PALE = """
(() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
  const shares = [0.2126, 0.7152, 0.0722];
  const light = (color) => shares.reduce((sum, one, place) => sum + one * linear(color[place] / 255), 0);
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if (color[3] !== 0) return color;
    }
    return [255, 255, 255];
  };
  const isText = (one) => one.checkVisibility() && !one.closest(':disabled, .left')
    && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  return [...document.querySelectorAll('body *')].filter(isText).filter((one) => {
    const style = getComputedStyle(one), size = parseFloat(style.fontSize), bold = style.fontWeight >= 700;
    const [a, b] = [light(numbers(style.color)), light(ground(one))].sort((one, other) => other - one);
    return (a + 0.05) / (b + 0.05) < (size >= 24 || (bold && size >= 18.66) ? 3 : 4.5);
  }).map((one) => one.outerHTML.slice(0, 200));
})()
"""
# Headings without a gap in their levels, and one h1 at the start.
HEADINGS = """
[...document.querySelectorAll('h1, h2, h3, h4')].filter((one) => one.checkVisibility()).map((one) => +one.tagName[1])
"""
AXE = """
axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.flatMap((one) =>
  one.nodes.map((node) => `${one.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`)))
"""


@pytest.fixture
def with_axe(page):
    """Whether axe-core is installed. Then it is in each view that the test opens."""
    if source := axe():
        with page.script(source):
            yield True
    else:
        yield False


@pytest.mark.parametrize(("dark", "width"), [(False, 360), (True, 1280)])
def test_everything_has_a_name_contrast_and_a_place(page, views, with_axe, dark, width):
    for hash in views(dark, width):
        assert page.run(NAMELESS) == [], hash
        assert page.run(PALE) == [], hash
        levels = page.run(HEADINGS)
        assert levels[0] == 1 and levels.count(1) == 1, hash
        assert all(below - above <= 1 for above, below in pairwise(levels)), (hash, levels)
        assert page.run("document.documentElement.scrollWidth") <= width, f"{hash} is too wide"
        if with_axe:
            assert page.run(AXE) == [], hash


# The focus, as the reader of the page sees it: where it is, and whether an outline shows it.
FOCUS = """
(() => {
  const one = document.activeElement, box = one.getBoundingClientRect();
  const outlined = parseFloat(getComputedStyle(one).outlineWidth) >= 2;
  return [one.outerHTML.slice(0, 120), Math.round(box.top + scrollY), box.height > 0 && box.width > 0, outlined];
})()
"""


def test_the_focus_goes_through_each_view_from_top_to_bottom_and_is_always_visible(page, views):
    for hash in views(False, 360):
        page.run("document.activeElement.blur(); scrollTo(0, 0); 1")
        reached, inside = [], "document.activeElement.closest('main') !== null"
        for _ in range(40):
            page.press("Tab")
            if page.run(inside):
                reached.append(page.run(FOCUS))
            elif reached:
                break
        assert reached or hash == "#/live", hash
        assert all(shown and outlined for _, _, shown, outlined in reached), (hash, reached)
        tops = [top for _, top, _, _ in reached]
        assert all(below >= above - 60 for above, below in pairwise(tops)), (hash, reached)
