"""Headless Chromium: opens a page, takes its picture, says what it complained about and what it asked the network for.

Spoken to over its debugging pipe (Chrome DevTools Protocol, https://chromedevtools.github.io/devtools-protocol/).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any, BinaryIO

NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
DOMAINS = ("Page", "Runtime", "Log", "Network")
SECONDS = 120.0  # a browser that has not been closed by then is stopped
FIRST_FREE = 10  # descriptors 3 and 4 are the browser's ends of the pipe


def chromium() -> str | None:
    """Path of the browser; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """The one tab of a browser; every ``event`` that it told of is kept in order."""

    def __init__(self, to_browser: BinaryIO, from_browser: BinaryIO) -> None:
        self._to, self._from, self._sent = to_browser, from_browser, 0
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in DOMAINS:
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser for something, and wait for its answer."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params, **self._session}
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (answer := self._read()).get("id") != self._sent:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, path: Path, width: int, *, dark: bool = False, media: str = "screen") -> None:
        """Load a file into a window so many pixels wide, and wait until it is there."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self._seen("Page.loadEventFired"):
            self.events.append(self._read())

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def picture(self, height: int | None = None) -> bytes:
        """The page from its top as PNG: all of it, or so many pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(shot["data"])

    def complaints(self) -> list[dict[str, Any]]:
        """What the page wrote to its console, and what the browser did about the page."""
        return self._seen("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")

    def requests(self) -> list[str]:
        """Every address that the page asked for, its own first; data inside the page is none."""
        addresses = [event["params"]["request"]["url"] for event in self._seen("Network.requestWillBeSent")]
        return [address for address in addresses if not address.startswith("data:")]

    def _seen(self, *methods: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["method"] in methods]

    def _read(self) -> dict[str, Any]:
        found = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser has gone")
            found += byte
        return json.loads(found)


@contextmanager
def browse(program: str) -> Iterator[Tab]:
    """Start a browser with a fresh profile, and end it."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        theirs, ours = os.pipe()
        ours_too, theirs_too = os.pipe()
        read, write = (fcntl.fcntl(end, fcntl.F_DUPFD, FIRST_FREE) for end in (theirs, theirs_too))

        def plumb() -> None:
            os.dup2(read, 3)
            os.dup2(write, 4)

        command = [program, *SWITCHES, f"--user-data-dir={profile}"]
        process = subprocess.Popen(command, preexec_fn=plumb, pass_fds=(3, 4), stderr=subprocess.DEVNULL)
        for end in (theirs, theirs_too, read, write):
            os.close(end)
        stop = Timer(SECONDS, process.kill)
        stop.start()
        try:
            with os.fdopen(ours, "wb") as to_browser, os.fdopen(ours_too, "rb") as from_browser:
                yield Tab(to_browser, from_browser)
        finally:
            stop.cancel()
            process.kill()
            process.wait()
