"""A headless Chromium, controlled over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import websockets.sync.client as sockets

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT = 60.0  # seconds; long, for a busy machine


def program():
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@contextmanager
def started():
    """A new Chromium with an empty profile, for many pages: starting it takes longer than most tests."""
    with tempfile.TemporaryDirectory(prefix="rkface-chromium-", ignore_cleanup_errors=True) as profile:
        root = ["--no-sandbox"] if os.getuid() == 0 else []
        process = subprocess.Popen(
            [program(), "--headless=new", *root, "--remote-debugging-port=0", f"--user-data-dir={profile}",
             "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
             "--disable-background-networking", "--no-proxy-server", "--renderer-process-limit=1",
             "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            address = _address(Path(profile), process)
            with sockets.connect(address, max_size=None, proxy=None, ping_interval=None) as socket:
                yield Browser(socket)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(profile, process):
    file, until = profile / "DevToolsActivePort", time.monotonic() + TIMEOUT
    while not (file.exists() and file.read_text().count("\n")):
        assert process.poll() is None, "Chromium ended at start"
        assert time.monotonic() < until, "Chromium did not open its port"
        time.sleep(0.05)
    port, path = file.read_text().split()
    return f"ws://127.0.0.1:{port}{path}"


class Browser:
    """Its process, and the socket to it."""

    def __init__(self, socket):
        self._socket, self._number = socket, 0

    def call(self, method, page=None, session=None, **parameters):
        """The result of a command to the browser, or to ``page``, which notes what its ``session`` reports."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        until = time.monotonic() + TIMEOUT  # in total: a page that logs without end must not keep us here
        while True:
            answer = json.loads(self._socket.recv(timeout=max(0.0, until - time.monotonic())))
            if page and answer.get("sessionId") == session:
                page.note(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    @contextmanager
    def private_page(self):
        """A page with cookies and storage of its own, which are empty."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        yield Page(self, browserContextId=context)
        self.call("Target.disposeBrowserContext", browserContextId=context)

    @contextmanager
    def ordinary_page(self):
        """A page with the cookies and storage of the profile."""
        page = Page(self)
        yield page
        page.call("Page.close")


class Page:
    """One tab. ``problems``: what the browser logged: errors, and violations of the content security policy. Not a
    photo that the service refuses, which is an error only for the browser."""

    def __init__(self, browser, **options):
        self.problems, self._browser = [], browser
        target = browser.call("Target.createTarget", url="about:blank", **options)["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        return self._browser.call(method, self, self._session, **parameters)

    def note(self, message):
        if message.get("method") == "Runtime.exceptionThrown":
            details = message["params"]["exceptionDetails"]
            self.problems.append(details.get("exception", details).get("description", str(details)))
        elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            entry = message["params"]["entry"]
            if "status of 422" not in entry["text"]:
                self.problems.append(f"{entry['text']} {entry.get('url', '')}")

    def run(self, expression):
        """The value of a JavaScript ``expression``; a promise is awaited."""
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, expression):
        """Wait until ``expression`` is true; return its value."""
        until = time.monotonic() + TIMEOUT
        while not (value := self.run(expression)):
            assert time.monotonic() < until, f"not true in time: {expression}\n{self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    @contextmanager
    def script(self, source):
        """Meanwhile, each document that is loaded runs the JavaScript ``source`` before its own."""
        added = self.call("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]
        yield
        self.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added)

    def open(self, address):
        """Load ``address``. A view of the page that is already shown is loaded again, in the same process: a new one
        costs half of the time of a page."""
        to = json.dumps(address)
        again = f"new URL({to}).origin === location.origin && (history.pushState(null, '', {to}), true)"
        if self.run(f"window.left = true; {again}"):
            self.call("Page.reload")
        else:
            self.call("Page.navigate", url=address)
        self.until(
            "!window.left && document.readyState === 'complete' && document.getElementById('view')?.children.length > 0"
        )

    def shows(self, text, inside="body"):
        """Wait until the element shows ``text``."""
        self.until(f"document.querySelector({json.dumps(inside)})?.innerText.includes({json.dumps(text)})")

    def press(self, key, times=1):
        code = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowDown": 40}.get(key, 0)
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.call(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key=key,
                    code=key,
                    windowsVirtualKeyCode=code,
                    **({"text": text} if text and kind == "keyDown" else {}),
                )

    def write(self, text):
        """Type ``text`` into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def click(self, selector, text=""):
        """Click with the mouse on the first visible element that ``selector`` finds and that contains ``text``."""
        find = (
            f"[...document.querySelectorAll({json.dumps(selector)})].find((one) => one.checkVisibility() && "
            f"(one.innerText ?? '').includes({json.dumps(text)}))"
        )
        place = self.until(  # in one step: the page may be redrawn between two
            f"(() => {{ const one = {find}; one?.scrollIntoView({{ block: 'center' }}); const box = "
            "one?.getBoundingClientRect(); return box && [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def fill(self, selector, text):
        self.click(selector)
        self.run(f"document.querySelector({json.dumps(selector)}).select()")
        self.write(text)

    def choose(self, selector, label):
        """Choose the option with this label."""
        options = f"[...(document.querySelector({json.dumps(selector)})?.options ?? [])]"
        self.until(f"{options}.some((one) => one.text === {json.dumps(label)})")
        self.run(
            f"(() => {{ const one = {options}.find((one) => one.text === {json.dumps(label)}); one.selected = true; "
            "one.parentElement.dispatchEvent(new Event('change')); })()"
        )

    def choose_files(self, selector, paths):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path) for path in paths], nodeId=node)

    def look(self, width, height, *, dark=False, phone=False):
        """Set the size of the window, and a light or dark theme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
