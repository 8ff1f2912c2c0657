"""A real Chromium that opens pages of this machine, spoken to over two pipes: no port, no dependency.

`--remote-debugging-pipe` makes the browser read commands from descriptor 3 and write answers to 4, each a JSON text
that ends with a zero byte.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_S, ANSWER_S, END_S = 300, 30, 10
OPTIONS = (
    "--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--no-default-browser-check",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-dev-shm-usage", "--force-color-profile=srgb", "--hide-scrollbars", "--mute-audio", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-breakpad", "--disable-crash-reporter", "about:blank",
)  # fmt: skip


class NoBrowserError(Exception):
    """There is none, and why."""


def find_browser() -> str:
    """The browser of this machine; it is installed from the packages of a Debian where that is allowed.

    Raises:
        NoBrowserError: If there is none.
    """
    found = _found()
    if found:
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoBrowserError("no Chromium is installed, and nobody here may install one: apt-get install chromium")
    command = [
        "apt-get",
        "-o",
        "DPkg::Lock::Timeout=240",
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        "chromium",
    ]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(command, env=environment, timeout=INSTALL_S, check=True, capture_output=True)
    except (subprocess.SubprocessError, OSError) as error:
        raise NoBrowserError(f"no Chromium is installed, and `{' '.join(command)}` failed: {error}") from None
    found = _found()
    if not found:
        raise NoBrowserError("the package chromium brought no program of that name")
    return found


def _found() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """A browser without a window, in a session of its own with a profile of its own.

    Args:
        program: Its path.
        folder: Where its profile may be.
    """

    def __init__(self, program: str, folder: Path) -> None:
        to_browser, from_us = os.pipe()
        to_us, from_browser = os.pipe()
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []

        def descriptors() -> None:  # the browser finds its ends at 3 and 4; high numbers first, so that none is lost
            reading, writing = os.dup2(to_browser, 100), os.dup2(from_browser, 101)
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        command = [program, *sandbox, f"--user-data-dir={folder}", *OPTIONS]
        environment = os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
            close_fds=False, preexec_fn=descriptors, start_new_session=True,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._out, self._in = from_us, to_us
        self._buffer, self._number, self._events = b"", 0, list[dict[str, Any]]()

    def send(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Sends a command and waits for its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read(ANSWER_S)
            if answer is None:
                raise TimeoutError(f"the browser does not answer {method}")
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                return answer["result"]
            self._events.append(answer)

    def events(self, session: str, wait_for: str | None = None) -> list[dict[str, Any]]:
        """What was told of a page since the last call; with the name of an event, that one is waited for."""
        while wait_for and not any(event.get("method") == wait_for for event in self._events):
            event = self._read(ANSWER_S)
            if event is None:
                raise TimeoutError(f"the browser does not tell {wait_for}")
            self._events.append(event)
        own = [event for event in self._events if event.get("sessionId") == session]
        self._events = [event for event in self._events if event.get("sessionId") != session]
        return own

    def _read(self, seconds: float) -> dict[str, Any] | None:
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], max(0, end - time.monotonic()))[0]:
                return None
            part = os.read(self._in, 2**20)
            if not part:
                raise ConnectionError(f"the browser ended with {self._process.poll()}")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    @contextlib.contextmanager
    def page(self, file: Path, width: int = 1280, height: int = 900, dark: bool = False, phone: bool = False,
             script: bool = True) -> Iterator[Page]:  # fmt: skip
        """Opens a file in a page of its own, which is closed afterwards."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        try:
            page = Page(self, session)
            page.open(file, width, height, dark, phone, script)
            yield page
        finally:
            self.send("Target.closeTarget", targetId=target)
            self.events(session)

    def close(self) -> None:
        """Ends the browser, and whatever it started."""
        with contextlib.suppress(OSError, TimeoutError, AssertionError, ConnectionError):
            self.send("Browser.close")
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(END_S)
            os.close(self._out)
            os.close(self._in)


class Page:
    """A page that is open.

    Args:
        browser: Where.
        session: Known there by this.

    Attributes:
        errors: What its console told as errors or warnings, and exceptions.
        requests: Addresses that it asked for, besides its own.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.errors, self.requests = list[str](), list[str]()

    def send(self, method: str, **params: Any) -> Any:
        return self._browser.send(method, self._session, **params)

    def open(self, file: Path, width: int, height: int, dark: bool, phone: bool, script: bool) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        scale = 2 if phone else 1
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.send("Emulation.setEmulatedMedia", features=[scheme, still])
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        self._browser.events(self._session)
        address = file.resolve().as_uri()
        self.send("Page.navigate", url=address)
        self._take(self._browser.events(self._session, "Page.loadEventFired"), address)

    def _take(self, events: list[dict[str, Any]], address: str = "") -> None:
        for event in events:
            method, params = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"].get("exception", params)))
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                self.errors.append(str(params["args"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                self.errors.append(params["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                self.requests += [] if url.startswith("data:") or url == address else [url]

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        self._take(self._browser.events(self._session))
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Moves or presses: ``mouseMoved``, ``mousePressed``, ``mouseReleased``."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """From one place to another with the left button."""
        button = {"button": "left", "buttons": 1, "clickCount": 1}
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, **button)
        self.mouse("mouseMoved", (start[0] + end[0]) / 2, start[1], **button)
        self.mouse("mouseMoved", *end, **button)
        self.mouse("mouseReleased", *end, **button)

    def key(self, key: str, text: str = "") -> None:
        """Presses a key."""
        code = {"key": key, "code": key} | ({"text": text} if text else {})
        self.send("Input.dispatchKeyEvent", type="keyDown", **code)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    def screenshot(self, path: Path, whole: bool = True) -> Path:
        """A picture of the page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
