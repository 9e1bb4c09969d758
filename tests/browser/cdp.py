"""A headless Chromium over its DevTools pipe: no driver and no package is needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.wait import wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""


class BrowserError(Exception):
    """The browser answered with an error, or a script in the page threw."""


class Browser:
    """`with Browser() as browser:`; one page at a time. What the page complains of is kept."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="pyinit-browser-")
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        command = [
            CHROMIUM,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars", "--mute-audio"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--disable-extensions", "--force-color-profile=srgb", "--lang=en-US"),
            f"--user-data-dir={self._folder}",
            "about:blank",
        ]
        # The browser reads commands from descriptor 3 and writes answers to 4.
        moved = 'exec 3<&"$0" 4>&"$1"; shift 1; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", moved, str(to_read), str(from_write), *command],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        self._out, self._in = to_write, from_read
        self._data = b""
        self._count = 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(each for each in targets if each["type"] == "page")
        self._session = ""
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method: str, **params: object) -> dict:
        """One command; events that come before its answer are noted."""
        self._count += 1
        told: dict[str, object] = {"id": self._count, "method": method, "params": params}
        if getattr(self, "_session", ""):
            told["sessionId"] = self._session
        os.write(self._out, json.dumps(told).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._count:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message)

    def _next(self) -> dict:
        while b"\0" not in self._data:
            more = os.read(self._in, 1 << 16)
            if not more:
                raise BrowserError("the browser has ended")
            self._data += more
        message, _, self._data = self._data.partition(b"\0")
        return json.loads(message)

    def _note(self, message: dict) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(params["entry"]["text"])

    # -- a page ------------------------------------------------------------------------

    def open(self, url: str, width: int = 1280, height: int = 800, *, dark: bool = False) -> None:
        """Load it at this size, in the light or the dark."""
        self.show(width, height, dark=dark)
        self.call("Page.navigate", url=url)
        wait_until(lambda: self.js("document.readyState") == "complete", f"{url} is loaded")

    def show(self, width: int, height: int, *, dark: bool = False) -> None:
        """The size of the window, and what the reader prefers."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def js(self, expression: str) -> object:
        """The value of an expression in the page."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in told:
            raise BrowserError(json.dumps(told["exceptionDetails"])[:500])
        return told["result"].get("value")

    def until(self, expression: str) -> object:
        """The value of an expression as soon as it is true."""
        return wait_until(
            lambda: self.js(expression),
            lambda: f"{expression}\n{self.js('document.body.innerText')}",
        )

    def press(self, key: str, code: str = "", number: int = 0) -> None:
        """One key, down and up."""
        for kind in ("keyDown", "keyUp"):
            told = {"type": kind, "key": key, "code": code or key}
            if number:
                told["windowsVirtualKeyCode"] = number
            if kind == "keyDown" and len(key) == 1:
                told["text"] = key
            self.call("Input.dispatchKeyEvent", **told)

    def accessible(self) -> list[tuple[str, str]]:
        """(role, name) of everything that a screen reader meets, in its order."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and "role" in node
        ]

    def screenshot(self, path: Path) -> None:
        """The window as PNG."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
