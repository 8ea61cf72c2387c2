"""A successor counts as dead when its node says so, or when its lease is over: never because of a failed question."""

from offloader.adapters.clock import SystemClock
from offloader.moves.agent import VerbFailed
from offloader.moves.link import LinkLost
from offloader.moves.plan import Timings
from offloader.moves.successor import Successor


class DeadLauncher:
    """A node on which the launcher has died in `proven`; `fences` are the answers to `fence`, one after the other."""

    class node:  # noqa: N801 (a stand-in for an attribute)
        name = "worker"

    def __init__(self, *fences) -> None:
        self._fences = list(fences)
        self.fenced = 0

    def attempt_dir(self, job, epoch):
        return f"/attempts/{job}.{epoch}"

    async def link(self, _directory):
        raise LinkLost("nothing listens")

    async def verb(self, verb, *_arguments, **_options):
        if verb == "revoke":
            return {"revoked": False}
        if verb == "status":
            return {"state": "proven", "launcher_alive": False, "child_alive": True}
        self.fenced += 1
        answer = self._fences.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def successor_on(agent):
    return Successor(agent, "JOB", 1, Timings(retry_s=0.01, contact_s=5.0), SystemClock())


async def test_what_survives_being_killed_is_killed_again_until_it_is_dead():
    agent = DeadLauncher({"dead": False, "killed": 3}, {"dead": False, "killed": 1}, {"dead": True, "killed": 1})
    assert await successor_on(agent).confirm_dead()
    assert agent.fenced == 3


async def test_a_node_that_fails_to_kill_is_asked_again_while_the_lease_may_last():
    agent = DeadLauncher(VerbFailed("OS_ERROR", "input/output error"), {"dead": True, "killed": 1})
    successor = successor_on(agent)
    successor.may_have_been_let_go()
    assert await successor.confirm_dead()
    assert agent.fenced == 2
