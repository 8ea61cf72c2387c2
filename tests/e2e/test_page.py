"""The status page on the test bed, in a browser: a move that somebody approves there, cancels there, and a pause."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from _testbed import controller
from chromium import Page, chromium

from offloader.client import Client

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.chromium]

WIDE, PHONE = 1280, 390
PORT = 9778


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Where screenshots go: kept where GRID_SCREENSHOTS names a directory."""
    folder = Path(os.environ.get("GRID_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.timeout(400)
def test_approve_cancel_and_pause_on_the_page_during_a_real_move(controlled, pictures):
    bed, settings = controlled.bed, controlled.settings
    rules = str(bed.root / "controller/rules.yml")
    times = {"check_interval": "1s", "cooldown": "2s", "initial_cooldown": "1s", "rule_files": [rules]}
    controlled.start(mode="approve", changes={"auto_offload": times})
    controlled.ready()
    # So little that it gets its share on a machine which does other things too, and fits anywhere.
    load = bed.start_load("gpu-master", "paged", cpu=0.1, environment={"GRID_OFFLOAD": "allow"})
    controlled.ok("auto", "--enable", "--mode", "approve", "--threshold", "cpu=20")
    token = controller.webhook_token(settings).read_text(encoding="ascii").strip()
    api = Client(controller.socket(settings))
    asyncio.run(_at_the_page(f"http://{bed.ip('gpu-master')}:{PORT}/", token, load.pid, api, pictures))
    controlled.one_copy("paged", on="gpu-master")


async def _at_the_page(address: str, token: str, pid: int, api: Client, pictures: Path) -> None:
    async with chromium() as page:
        await page.width(WIDE)
        await page.open(address)
        await page.type("#token", token)
        await page.click("#token-form button")
        await page.until_says("#proposals", f"pid {pid}", 90)
        await _shown_at_both_widths(page, pictures, "waiting")
        move = await _approved(page, api, pid)
        await page.until("document.querySelector('#flying tr[data-key]') !== null")
        await _shown_at_both_widths(page, pictures, "moving")
        await _cancelled(page, api, move)
        await _paused(page, api)
        await page.screenshot(pictures / f"paused-{WIDE}.png")
        # Without TLS a browser heeds it at the loopback address alone, and says so.
        assert [one for one in page.problems if "Cross-Origin-Opener-Policy" not in one] == []


async def _approved(page: Page, api: Client, pid: int) -> str:
    await page.click("#proposals [data-action=approve]")
    await page.click("#dialog-yes")
    [move] = await _until(api, lambda one: one["moves_in_flight"])
    assert (move["pid"], move["automatic"], move["state"] in ("rolled_back", "lost")) == (pid, True, False)
    assert move["approved_by"] is not None
    return str(move["id"])


async def _cancelled(page: Page, api: Client, move_id: str) -> None:
    await page.click("#flying [data-action=cancel]")
    await page.click("#dialog-yes")
    [move] = await _until(api, lambda one: one["moves_recent"])
    assert (move["id"], move["state"], move["reason"]) == (move_id, "rolled_back", "CANCELLED")
    await page.until_says("#recent", "rolled back")


async def _paused(page: Page, api: Client) -> None:
    await page.click("#pause")
    await page.click("#dialog-yes")
    await _until(api, lambda one: one["ceiling"] == "observe")
    await page.until("document.querySelector('#mode').innerText.startsWith('Off')")


async def _until(api: Client, condition, seconds: float = 60.0):
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := condition(document := await api.status())):
        assert asyncio.get_running_loop().time() < deadline, json.dumps(document)[:4000]
        await asyncio.sleep(0.1)
    return found


async def _shown_at_both_widths(page: Page, pictures: Path, name: str) -> None:
    for width in (PHONE, WIDE):
        await page.width(width)
        wider = await page.js("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"at {width} px something is cut off or scrolls sideways"
        await page.screenshot(pictures / f"{name}-{width}.png")
