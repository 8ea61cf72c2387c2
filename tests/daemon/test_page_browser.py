"""The status page in a real browser, against a real controller: what is clicked is done, and what happens is shown."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from chromium import Page, chromium

pytestmark = [pytest.mark.slow, pytest.mark.chromium]

TOKEN = "a-token-for-tests"
WIDE, PHONE = 1280, 390
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def address(acting_file: Path, daemon) -> str:
    """The page of a controller that may move the load, and knows one worker that does not answer."""
    token = acting_file.parent / "page.token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    text = acting_file.read_text()
    acting_file.write_text(text.replace("controller:\n", f"controller:\n  webhook_token_file: {token}\n"))
    daemon.start("--log-level", "info")
    return f"http://{daemon.json('config', 'show')['controller']['listen']}/"


@asynccontextmanager
async def opened(address: str, width: int = WIDE) -> AsyncIterator[Page]:
    """Signed in, with data on it."""
    async with chromium() as page:
        await page.width(width)
        await page.open(address)
        await page.type("#token", TOKEN)
        await page.click("#token-form button")
        await page.until("!document.querySelector('#shown').hidden")
        yield page
        assert page.problems == []
        assert {one.split("/", 3)[2] for one in page.requests if one.startswith("http")} == {address.split("/")[2]}
        assert TOKEN not in str(page.requests)


async def confirmed(page: Page, selector: str) -> str:
    """Click, confirm, and give what is told of it."""
    await page.js("document.querySelector('#result').hidden = true")
    await page.click(selector)
    await page.click("#dialog-yes")
    await page.until("!document.querySelector('#result').hidden")
    await page.until("!document.querySelector('#dialog').open")
    return await page.text("#result")


async def seen(daemon, condition, seconds: float = 30.0) -> dict:
    """The status document of the API, once it is so."""
    deadline = time.monotonic() + seconds
    while not condition(document := await asyncio.to_thread(daemon.status)):
        assert time.monotonic() < deadline, document
        await asyncio.sleep(0.1)
    return document


async def test_it_shows_what_the_controller_knows_and_goes_on_doing_so(address, prometheus, daemon) -> None:
    async with opened(address) as page:
        assert await page.text("#cluster") == "test - grid-offloader"
        assert await page.text("#mode") == "Off: observing only"
        assert "20 % of 80 %" in await page.text("#head")
        assert "6.0 cores, 24.0 GB" in await page.text("#workers")
        prometheus.pressure["head1"]["cpu"] = 0.43
        await page.until_says("#head", "43 % of 80 %")
        prometheus.up["gpu1"] = 0
        await page.until_says("#problems", "worker gpu1 is down")
        assert "live" in await page.text("#connection")


async def test_a_wrong_token_shows_nothing_and_says_so(address) -> None:
    async with chromium() as page:
        await page.open(address)
        await page.type("#token", "wrong")
        await page.click("#token-form button")
        await page.until_says("#token-problem", "wrong bearer token")
        assert await page.js("document.querySelector('#shown').hidden")
        assert await page.js("sessionStorage.length") == 0


@pytest.mark.parametrize("width", [WIDE, PHONE])
async def test_pause_mode_and_thresholds_take_effect_at_once(address, daemon, width) -> None:
    async with opened(address, width) as page:
        await page.click("#resume")
        await page.click("input[value=advise]")
        await page.click("#dialog-yes")
        await seen(daemon, lambda one: one["ceiling"] == "advise")
        await page.until("document.querySelector('#mode').innerText.startsWith('Advising')")
        assert "Paused: the ceiling is observe" in await confirmed(page, "#pause")
        await seen(daemon, lambda one: one["ceiling"] == "observe")
        await page.until("document.querySelector('#mode').innerText.startsWith('Off')")
        await page.click("#thresholds")
        await page.until("document.querySelector('input[name=cpu]') !== null")
        await page.js("document.querySelector('input[name=cpu]').value = '66'")
        await page.click("#dialog-yes")
        await seen(daemon, lambda one: one["thresholds"]["cpu"] == 0.66)
        await page.until_says("#head", "of 66 %")


async def test_back_does_nothing(address, daemon) -> None:
    async with opened(address) as page:
        await page.click("#resume")
        await page.click("#dialog-no")
        await page.until("!document.querySelector('#dialog').open")
        assert (await seen(daemon, lambda _: True))["ceiling"] == "observe"


@pytest.mark.parametrize("width", [WIDE, PHONE])
async def test_what_rules_ask_is_answered_here(address, daemon, prometheus, load, width) -> None:
    """Approved, it begins; its worker does not answer, so it is rolled back, which is shown. What is declined stays."""
    prometheus.pressure["head1"]["cpu"] = 0.95
    await asyncio.to_thread(daemon.json, "auto", "--enable", "--mode", "approve")
    async with opened(address, width) as page:
        await page.until("document.querySelector('#proposals tr[data-key]') !== null", 60)
        assert f"(pid {load.pid}" in await page.text("#proposals")
        assert await page.js(OVERFLOW) <= 0, "nothing is cut off or scrolls sideways"
        told = await confirmed(page, "#proposals [data-action=approve]")
        # Where processes take long to look at, the check that moves it ends after the answer.
        assert "begins" in told or "the next check is still to come" in told
        after = await seen(daemon, lambda one: one["moves_recent"], 60)
        assert after["moves_recent"][0]["approved_by"] is not None
        await page.until_says("#recent", "rolled back")
        await page.click("#recent a")
        await page.until_says("#dialog", "agreed to by")


async def test_what_is_declined_is_asked_no_more(address, daemon, prometheus, load) -> None:
    prometheus.pressure["head1"]["cpu"] = 0.95
    await asyncio.to_thread(daemon.json, "auto", "--enable", "--mode", "approve")
    async with opened(address) as page:
        await page.until("document.querySelector('#proposals tr[data-key]') !== null", 60)
        assert "stays" in await confirmed(page, "#proposals [data-action=decline]")
        after = await seen(daemon, lambda one: not one["proposals"])
        assert after["moves_in_flight"] == after["moves_recent"] == []
        await page.until("document.querySelector('#proposals').hidden")


async def test_what_is_refused_is_told_with_its_reason(address, daemon, prometheus, load, state_dir) -> None:
    prometheus.pressure["head1"]["cpu"] = 0.95
    async with opened(address) as page:
        (state_dir / "disabled").write_text("maintenance\n")
        await page.until("document.querySelector('#mode').innerText.startsWith('STOPPED')")
        await page.click("#resume")
        await page.click("#dialog-yes")
        await page.until_says("#dialog-problem", "KILL_SWITCH")
        page.problems.clear()  # the browser logs the answer's status 409


async def test_a_job_is_planned_before_it_is_moved_by_hand(address, daemon, load) -> None:
    async with opened(address) as page:
        await page.click("#move")
        await page.click(f"#dialog tr[data-key='{load.pid}'] [data-action=plan]")
        await page.until_says("#dialog-body", "TARGET_DOWN")
        assert await page.js("document.querySelector('#dialog-yes').hidden"), "what cannot be done is not offered"


async def test_a_controller_that_is_restarted_is_found_again(address, daemon) -> None:
    async with opened(address) as page:
        await asyncio.to_thread(daemon.kill)
        await page.until("document.querySelector('#connection').innerText.startsWith('no answer')")
        page.problems.clear()  # the browser logs each refused connection
        await asyncio.to_thread(daemon.start, "--log-level", "info")
        await page.until("document.querySelector('#connection').innerText === 'live'", 60)
        page.problems.clear()


async def test_names_that_look_like_markup_are_text(address, daemon, prometheus, tmp_path) -> None:
    """Of a cluster whose worker says of itself what no node should."""
    async with opened(address) as page:
        prometheus.broken = "<img src=x onerror=alert(1)>"
        await page.until_says("#problems", "Prometheus")
        assert await page.js("document.querySelectorAll('img, script:not([src])').length") == 0
