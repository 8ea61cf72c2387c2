"""One thread, one thing at a time, one answer for all who ask the same."""

import asyncio
import threading

import pytest

from exporter.web.shared_work import SharedWork


@pytest.fixture
def work():
    shared = SharedWork("test", failed="failed")
    yield shared
    shared.close()


async def test_questions_wait_in_order_and_can_be_withdrawn(work):
    """What runs is not interrupted, what nobody waits for is not begun, and the rest is answered in turn."""
    gate, begun, answers = threading.Event(), [], []

    def task(name):
        def run():
            begun.append(name)
            gate.wait(10)
            return name

        return run

    take_back = {name: work.ask(name, task(name), answers.append) for name in "abc"}
    again = work.ask("c", task("never"), answers.append)
    while not begun:
        await asyncio.sleep(0.01)
    for name in "ab":
        take_back[name]()
        take_back[name]()
    again()
    assert (work.asked("a"), work.asked("b"), work.asked("c")) == (True, False, True)
    done = asyncio.Event()
    work.ask("d", task("d"), lambda _: done.set())
    gate.set()
    await asyncio.wait_for(done.wait(), 10)
    assert (begun, answers) == (["a", "c", "d"], ["c"])


async def test_what_was_learned_is_kept_even_if_nobody_waits():
    """The question was withdrawn while the work ran: the result still gets to where results are kept."""
    learned, gate, begun = {}, threading.Event(), threading.Event()
    work = SharedWork("test", failed="failed", learned=learned.__setitem__)

    def run():
        begun.set()
        gate.wait(10)
        return "result"

    work.ask("a", run, None)()
    again = asyncio.get_running_loop().create_future()
    while not begun.is_set():
        await asyncio.sleep(0.01)
    gate.set()
    work.ask("b", lambda: "other", again.set_result)
    assert await asyncio.wait_for(again, 10) == "other"
    assert learned == {"a": "result", "b": "other"}
    work.close()


async def test_work_that_raises_fails_alone(work, caplog):
    """Who asked is told, the log has one line, and the thread goes on."""
    loop = asyncio.get_running_loop()
    for task, expected in [(lambda: 1 // 0, "failed"), (lambda: "fine", "fine")]:
        answer = loop.create_future()
        work.ask(expected, task, answer.set_result)
        assert await asyncio.wait_for(answer, 10) == expected
    assert [record.getMessage() for record in caplog.records] == [
        "test failed: ZeroDivisionError: integer division or modulo by zero"
    ]
