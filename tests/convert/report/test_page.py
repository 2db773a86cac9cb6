"""The report in a browser: on a phone, dark and light, without a network."""

import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE = 390  # width of a common phone in CSS pixels

# Looks at the report from outside, because the report itself has no script.
LOOK = """<!doctype html><iframe id=report src="report.html" width=390 height=800 style="border:0"></iframe>
<pre id=seen></pre><script>
report.onload = () => {
  const page = report.contentDocument, frame = report.contentWindow;
  seen.textContent = JSON.stringify({
    width: page.documentElement.scrollWidth,
    outside: frame.performance.getEntriesByType("resource").map(one => one.name),
    broken: [...page.images].filter(one => !one.naturalWidth).length, images: page.images.length,
    text: frame.getComputedStyle(page.body).color,
    dark: frame.matchMedia("(prefers-color-scheme: dark)").matches,
    tiny: [...page.querySelectorAll("body *:not(svg *)")].filter(
      one => one.textContent && parseFloat(frame.getComputedStyle(one).fontSize) < 11).length,
  });
};
</script>"""


def look(report, tmp_path, *options):
    shutil.copy(report, tmp_path / "report.html")
    (tmp_path / "look.html").write_text(LOOK)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", *options]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom"]
    command += [f"file://{tmp_path}/look.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="seen">(.+?)</pre>', done.stdout)
    assert found, f"Chromium showed nothing: {done.stderr[-500:]}"
    return json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_report_fits_a_phone_dark_and_light_and_loads_nothing(converted, tmp_path):
    report = converted.bundle / "report.html"
    light = look(report, tmp_path)
    dark = look(report, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert (light["dark"], dark["dark"]) == (False, True)
    assert light["text"] != dark["text"]
    for seen in (light, dark):
        assert seen["width"] <= PHONE
        assert seen["images"] > 5 and not seen["broken"]
        assert all(name.startswith("data:") for name in seen["outside"])
        assert not seen["tiny"]
