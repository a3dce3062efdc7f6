"""A headless Chromium, driven by its DevTools protocol through a pipe: what a page does, logs and asks for."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
          "--disable-background-networking", "--disable-component-update", "--disable-sync",
          "--remote-debugging-pipe")  # fmt: skip
# The descriptors on which Chromium reads commands and writes answers.
_READS, _WRITES = 3, 4


class Browser:
    """One Chromium with one tab."""

    def __enter__(self) -> Browser:
        """Start it."""
        assert PROGRAM is not None
        self.folder = tempfile.mkdtemp(prefix="fwdscope-browser-")
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # Out of the way of 3 and 4, whichever numbers the pipes got.
        reads, writes = (fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_in, theirs_out))

        def connect() -> None:
            os.dup2(reads, _READS)
            os.dup2(writes, _WRITES)

        self.process = subprocess.Popen(
            [PROGRAM, *_FLAGS, f"--user-data-dir={self.folder}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(_READS, _WRITES),
            preexec_fn=connect,
        )
        for fd in (theirs_in, theirs_out, reads, writes):
            os.close(fd)
        self.out, self.into = os.fdopen(ours_out, "wb", buffering=0), os.fdopen(ours_in, "rb")
        self.number, self.session = 0, None
        self.events: list[dict[str, Any]] = []
        targets = self.send("Target.getTargets")["targetInfos"]
        tab = next(one["targetId"] for one in targets if one["type"] == "page")
        self.session = self.send("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *raised: object) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self.out.close()
        self.into.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command; what happens meanwhile is kept in ``events``."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self.into.read(1)) != b"\0":
            assert byte, "the browser has ended"
            data += byte
        answer: dict[str, Any] = json.loads(data)
        return answer

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """Give the tab a size in pixels, and a preference for light or dark."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, file: Path, link: str = "") -> None:
        """Open a page from disk and wait until its script has drawn it."""
        self.events.clear()
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=f"{file.absolute().as_uri()}{link}")
        drawn = "new Promise((done) => { const wait = () => (window.performance.getEntriesByName('charted').length "
        self.run(f"{drawn} ? done() : setTimeout(wait, 10)); setTimeout(() => done(), 20000); wait(); }})")

    def run(self, code: str) -> Any:
        """The value of an expression in the page, awaited."""
        found = self.send("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def passed_by_axe(self) -> set[str]:
        """The rules of axe-core that the page passes. Raises AssertionError with those that it breaks."""
        # Through the protocol, past the page's security policy.
        self.run(resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8") + "; 0")
        found = self.run(
            """axe.run().then(({ violations, passes, incomplete }) => ({
              violations: violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`),
              passed: passes.map(({ id }) => id),
              errors: incomplete.filter(({ error }) => error).map(({ id, error }) => `${id}: ${error.message}`),
            }))"""
        )
        assert not found["violations"] + found["errors"], found
        return set(found["passed"])

    def click(self, selector: str) -> None:
        """Click with the mouse on the middle of the first element that a selector finds."""
        place = (
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            "found.scrollIntoView({block: 'nearest', inline: 'nearest'});"
            "const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        x, y = self.run(place)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def picture(self, file: Path) -> None:
        """Save what the tab shows as PNG."""
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the console, and uncaught exceptions, since the page was opened."""
        self.run("0")
        found = []
        for event in self.events:
            given = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(str(given["exceptionDetails"].get("exception", given)))
            elif event.get("method") == "Log.entryAdded":
                found.append(given["entry"]["text"])
            elif event.get("method") == "Runtime.consoleAPICalled":
                found.append(str(given["args"]))
        return found

    @property
    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened."""
        self.run("0")
        sent = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if not one["request"]["url"].startswith("about:")]


# Opens a page at a size and a link: ``opened(html, width=1440, dark=False, link="")``.
Opened = Callable[..., Browser]
