"""A headless Chromium, driven over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

PROJECT = Path(__file__).resolve().parents[2]
DEBIAN = PROJECT / ".cache/debian"
_PLACES = ("usr/lib/chromium/chromium-headless-shell", "usr/lib/chromium/chromium")
_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><dir>/usr/share/fonts</dir><cachedir>{cache}</cachedir></fontconfig>
"""
START_S, ANSWER_S = 60.0, 30.0


def program() -> Path | None:
    """The one that deploy/setup unpacked, else one that is installed."""
    return next((path for root in (DEBIAN, Path("/")) for place in _PLACES if (path := root / place).exists()), None)


class Page:
    """One page. Everything is waited for with a deadline, nothing for a fixed time."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.problems: list[str] = []
        """What the page logged as an error, threw, or was refused by its Content-Security-Policy."""
        self.requests: list[str] = []
        """The address of everything that it asked for."""

    async def listen(self) -> None:
        """Take what comes, for as long as the page lives."""
        async for message in self._socket:
            document = json.loads(message.data)
            if "id" in document:
                self._waiting.pop(document["id"]).set_result(document)
            elif document["method"] == "Runtime.exceptionThrown":
                self.problems.append(str(document["params"]["exceptionDetails"]))
            elif document["method"] == "Log.entryAdded" and document["params"]["entry"]["level"] == "error":
                self.problems.append(document["params"]["entry"]["text"])
            elif document["method"] == "Network.requestWillBeSent":
                self.requests.append(document["params"]["request"]["url"])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(ANSWER_S):
            answer = await self._waiting[number]
        assert "error" not in answer, f"{method}: {answer.get('error')}"
        return dict(answer["result"])

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = 30.0) -> Any:
        """The first true value of an expression."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not (value := await self.js(expression)):
            shown = await self.js("document.body.innerText")
            assert asyncio.get_running_loop().time() < deadline, f"not in time: {expression}\n{shown}\n{self.problems}"
            await asyncio.sleep(0.05)
        return value

    async def text(self, selector: str) -> str:
        """What is written there; a space is a space, also one at which no line is broken."""
        return str(await self.js(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")).replace(
            "\xa0", " "
        )

    async def until_says(self, selector: str, words: str, seconds: float = 30.0) -> None:
        """Until those words are written there."""
        spaces = f"innerText.replaceAll('\\u00a0', ' ').includes({json.dumps(words)})"
        await self.until(f"document.querySelector({json.dumps(selector)})?.{spaces}", seconds)

    async def click(self, selector: str) -> None:
        """As a finger does: on the middle of what is there, once it is shown; whatever lies above it gets the click."""
        found = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"{found}?.checkVisibility() && !{found}.disabled")
        place = await self.js(
            f"(() => {{ const one = {found}; one.scrollIntoView({{ block: 'center' }});"
            "const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        at = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, **at)

    async def type(self, selector: str, text: str) -> None:
        await self.click(selector)
        await self.call("Input.insertText", text=text)

    async def width(self, pixels: int, height: int = 900) -> None:
        """As on a screen that wide; below 640 as on a phone."""
        phone = pixels < 640
        size = {"width": pixels, "height": height, "screenWidth": pixels, "screenHeight": height}
        await self.call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=phone)
        # The screen, not the window: what a phone lays out is as wide as the page asks for.
        await self.until(f"screen.width === {pixels}")

    async def screenshot(self, file: Path) -> None:
        """The whole page, PNG."""
        whole = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip={**whole, "scale": 1})
        file.write_bytes(base64.b64decode(answer["data"]))


@asynccontextmanager
async def chromium() -> AsyncIterator[Page]:
    """A browser with nothing but an empty page; ended with all that it started."""
    path = program()
    assert path is not None, "no Chromium: deploy/setup fetches it"
    home = Path(tempfile.mkdtemp(prefix="grid-offloader-chromium-"))
    process = _started(path, home)
    try:
        async with aiohttp.ClientSession() as session:
            address = await _address(session, home, process)
            async with session.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.ensure_future(page.listen())
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await page.call(f"{domain}.enable")
                yield page
            await asyncio.gather(listening, return_exceptions=True)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        shutil.rmtree(home, ignore_errors=True)


def _started(path: Path, home: Path) -> subprocess.Popen[bytes]:
    fonts = home / "fonts.conf"
    fonts.write_text(_FONTS.format(fonts=DEBIAN / "usr/share/fonts", cache=home / "fonts"), encoding="ascii")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        **({"LD_LIBRARY_PATH": _libraries()} if path.is_relative_to(DEBIAN) else {}),
        "FONTCONFIG_FILE": str(fonts),
        "HOME": str(home),
    }
    options = [
        "--headless=new",
        "--no-sandbox",  # tests run as root, in a container
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--hide-scrollbars",
        "--force-color-profile=srgb",
        "--remote-debugging-port=0",
        f"--user-data-dir={home / 'profile'}",
        "about:blank",
    ]
    with (home / "log").open("wb") as log:
        return subprocess.Popen(
            [str(path), *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _libraries() -> str:
    """Every folder with libraries that was unpacked: some are in folders of their own, some not below usr."""
    found = (file for root in ("usr/lib", "lib") for file in (DEBIAN / root).glob("*-linux-gnu*/**/*.so*"))
    return ":".join(sorted({str(file.parent) for file in found}))


async def _address(session: aiohttp.ClientSession, home: Path, process: subprocess.Popen[bytes]) -> str:
    """Of the page's own DevTools, once it is there."""
    file = home / "profile/DevToolsActivePort"
    deadline = asyncio.get_running_loop().time() + START_S
    while True:
        said = (home / "log").read_text(encoding="utf-8", errors="replace")[-3000:]
        assert process.poll() is None, f"Chromium ended: {said}"
        assert asyncio.get_running_loop().time() < deadline, f"Chromium is not up: {said}"
        with suppress(OSError, IndexError, aiohttp.ClientError):
            port = file.read_text(encoding="ascii").split()[0]
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [one for one in await answer.json() if one["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        await asyncio.sleep(0.05)
