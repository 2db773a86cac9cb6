"""The reports in a browser: on a phone and on a wide screen, dark and light, without a network."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from rkface.convert.evaluate.evaluation import evaluate_pairs
from rkface.convert.report.evaluation_report import to_html
from rkface.convert.report.page import add_later_note

from .samples import REQUEST, conversion_html, conversion_report, labeled_faces, scores

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE, DESKTOP = 360, 1280  # widths of a small phone and of a laptop in CSS pixels
READABLE = 4.5  # contrast of text: WCAG 2.2, success criterion 1.4.3 (level AA)

# Looks at a report from outside, because the report itself has no script.
LOOK = """<!doctype html><pre id=seen></pre><script>
const luminance = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const look = (frame, width) => {
  const page = frame.contentDocument, view = frame.contentWindow, style = (one) => view.getComputedStyle(one);
  page.querySelectorAll("details").forEach((one) => { one.open = true; });
  const behind = (one) => {
    while (style(one).backgroundColor === "rgba(0, 0, 0, 0)") one = one.parentElement;
    return style(one).backgroundColor;
  };
  const contrast = (one) => {
    const text = one.closest("svg") ? style(one).fill : style(one).color;
    const [low, high] = [luminance(text), luminance(behind(one))].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const size = (one) => {  // of its text on the screen, in CSS pixels
    const svg = one.closest("svg"), scale = svg ? svg.clientWidth / svg.viewBox.baseVal.width : 1;
    return parseFloat(style(one).fontSize) * scale;
  };
  const texts = [...page.body.querySelectorAll("*")].filter(
    (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  const boxes = [...page.querySelectorAll("table, svg")].map((one) => one.parentElement);
  return {
    width: page.documentElement.scrollWidth,
    outside: view.performance.getEntriesByType("resource").map((one) => one.name),
    broken: [...page.images].filter((one) => !one.naturalWidth).length, images: page.images.length,
    dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
    tiny: texts.filter((one) => size(one) < 10).length,
    pale: texts.filter((one) => contrast(one) < READABLE).map((one) => one.textContent.trim().slice(0, 40)),
    texts: texts.length,
    scrolling: boxes.filter((one) => one.scrollWidth > one.clientWidth).length,
    unmarked: boxes.filter((one) => style(one).overflowX !== "auto" || !style(one).backgroundImage.includes("gradient")
      || one.getBoundingClientRect().right > width).length,
    missing: [...page.querySelectorAll("nav a")].filter((one) => !page.querySelector(one.getAttribute("href"))).length,
    links: page.querySelectorAll("nav a").length,
  };
};
Promise.all(WIDTHS.map((width) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.style = `border: 0; width: ${width}px; height: 800px`;
  frame.onload = () => done([width, look(frame, width)]);
  frame.src = "report.html";
  document.body.append(frame);
}))).then((found) => { seen.textContent = JSON.stringify(Object.fromEntries(found)); });
</script>"""


def look(html, folder, *options):
    """What Chromium shows of ``html``, by width."""
    (folder / "report.html").write_text(html, encoding="utf-8")
    (folder / "look.html").write_text(LOOK.replace("WIDTHS", str([PHONE, DESKTOP])).replace("READABLE", str(READABLE)))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
               "--disable-background-networking", "--disable-component-update", "--disable-sync",
               "--allow-file-access-from-files", "--window-size=1400,900", *options]  # fmt: skip
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000", "--dump-dom"]
    command += [f"file://{folder}/look.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="seen">(.+?)</pre>', done.stdout)
    assert found, f"Chromium showed nothing: {done.stderr[-500:]}"
    seen = json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return seen[str(PHONE)], seen[str(DESKTOP)]


def refused():
    notes = (f"{'a-long-name-without-a-space' * 9}.onnx is odd", "another note")
    return conversion_html(conversion_report(fault="the models differ", bundle_written=False, notes=notes))


def evaluated():
    data = labeled_faces(name="a-folder-with-a-long-name-{}/and-a-photo-with-a-name-that-is-longer-still-{}.jpg")
    groups = np.array(["one", "two"])[data.people % 2]
    found = evaluate_pairs(REQUEST, data, {"FP32": scores(data), "INT8": scores(data)}, ["a note"], groups)
    return to_html(found, data.crops)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("name", ["converted", "refused", "evaluated"])
def test_a_report_fits_a_phone_and_a_wide_screen_dark_and_light_and_loads_nothing(name, request, tmp_path):
    if name == "converted":
        html = (request.getfixturevalue("converted").bundle / "report.html").read_text(encoding="utf-8")
    else:
        html = {"refused": refused, "evaluated": evaluated}[name]()
    light = look(html, tmp_path)
    dark = look(html, tmp_path, "--blink-settings=preferredColorScheme=0")
    for dark_one, seen in ((False, light), (True, dark)):
        for width, one in zip((PHONE, DESKTOP), seen, strict=True):
            assert one["dark"] is dark_one
            assert one["width"] <= width, "only tables and plots scroll sideways"
            assert one["images"] >= 5 and not one["broken"]
            assert all(name.startswith("data:") for name in one["outside"])
            assert not one["tiny"]
            assert one["texts"] > 50 and not one["pale"], f"contrast below {READABLE}"
            assert not one["unmarked"], "tables and plots are in boxes that scroll, with a shadow where they go on"
            assert one["links"] >= 6 and not one["missing"]
        assert seen[0]["scrolling"] > 0, "some table is wider than a phone"


def test_a_later_note_stands_before_the_contents_and_the_next_one_takes_its_place():
    page = conversion_html(conversion_report())
    noted = add_later_note(page, "changed to 0.41 <by hand>")
    assert noted.index("changed to 0.41 &lt;by hand&gt;") < noted.index("<nav")
    assert add_later_note(noted, "changed to 0.42") == add_later_note(page, "changed to 0.42")
    assert add_later_note("<p>an old page", "note") == "<p>an old page"
