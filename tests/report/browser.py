"""Chromium without a window, spoken to over a pipe: what a page looks like to it, and what it complains of.

Source: the DevTools protocol, https://chromedevtools.github.io/devtools-protocol; messages are JSON, ended by NUL.
"""

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_WAIT_S = 60.0
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions", "--no-zygote")
_OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND"


def chromium() -> str | None:
    """The browser's program; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One browser with one page. complaints: what it has logged of the page: errors, warnings, requests that failed."""

    def __init__(self, program: str, folder: Path) -> None:
        to_browser, ours = os.pipe()
        ours_too, from_browser = os.pipe()

        def at_3_and_4() -> None:
            # First out of the way: either may be 3 or 4 itself.
            ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]
            for place, end in enumerate(ends, 3):
                os.dup2(end, place)

        self._process = subprocess.Popen(
            [program, *_FLAGS, _OFFLINE, f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"],
            preexec_fn=at_3_and_4,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._write, self._read = ours, ours_too
        self._received = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._write)
        os.close(self._read)
        self._process.kill()
        self._process.wait()

    def open(self, path: Path, *, width: int, scheme: str = "light", media: str = "screen") -> None:
        """Show a file at a width. scheme: the reader's setting, light or dark. media: screen or print."""
        self.complaints.clear()
        self.requests.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)
        self._events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._take()

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is, as plain data."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def ask(self, method: str, **parameters: Any) -> Mapping[str, Any]:
        """The answer to one message."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._take()).get("id") != self._number:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: Mapping[str, Any] = answer["result"]
        return result

    def _take(self) -> dict[str, Any]:
        """The next message; events are noted."""
        until_s = time.monotonic() + _WAIT_S
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until_s - time.monotonic()))
            assert ready, f"Chromium has said nothing for {_WAIT_S:g} s"
            piece = os.read(self._read, 1 << 20)
            assert piece, f"Chromium has ended with {self._process.wait()}"
            self._received += piece
        text, _, self._received = self._received.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self._note(message)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        match event["method"], event["params"]:
            case "Log.entryAdded", {"entry": entry}:
                self.complaints.append(f"{entry['level']}: {entry['text']}")
            case "Runtime.consoleAPICalled", called:
                self.complaints.append(f"console.{called['type']}: {called['args']}")
            case "Runtime.exceptionThrown", thrown:
                self.complaints.append(str(thrown["exceptionDetails"].get("text")))
            case "Network.requestWillBeSent", {"request": request}:
                self.requests.append(request["url"])
