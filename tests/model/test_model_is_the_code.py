"""The model's guard, launcher and lease answer as the code's do: each message in each state, put to both."""

import itertools
from types import SimpleNamespace

import pytest
from _model.source import outcomes
from _model.target import granted, obey
from _model.world import ANSWERS, CONTACT_S, LEASE_S, SLOT_S, Attempt, Rules, World

from offloader.launcher import guard as guard_module
from offloader.launcher import hold as hold_module
from offloader.launcher.capsule import HoldTimings
from offloader.launcher.errors import LauncherError
from offloader.launcher.guard import Guard
from offloader.launcher.guard_config import GuardConfig
from offloader.launcher.hold import Hold
from offloader.launcher.lease import Lease
from offloader.launcher.states import GUARD, HOLD, Machine
from offloader.moves.plan import Timings

# --- the source ---------------------------------------------------------------------------------------------------

ICE = ("frozen", "holding", "changed")
RUNNING = ("armed", "saving", "thawed")


class Original:
    """A process and the way to freeze it, in one. Killed while it was frozen, it dies after the thaw, not with it."""

    how = "v1"
    leader = SimpleNamespace(pid=1)
    known = ()

    def __init__(self, state, fails):
        self.state, self.fails = state, fails

    @property
    def leader_alive(self):
        return self.state != "end"

    def alive(self):
        return [self] if self.leader_alive else []

    def killed(self):
        return [self] if self.state == "doomed" else []

    def include(self, _pids):
        pass

    def signal(self, _number):
        self.state = "doomed" if self.state == "ice" else "end"

    def wait(self, _seconds):
        if self.state == "dying":
            self.state = "end"

    def freeze(self, _members, _deadline, wrote):
        if self.state == "end":
            return
        wrote()
        if self.fails:
            raise LauncherError("FREEZE_FAILED", "not frozen in time")
        self.state = "ice"

    def thaw(self, _members):
        self.state = {"ice": "run", "doomed": "dying"}.get(self.state, self.state)

    def pids(self, _members):
        return []

    def memory(self):
        return {}


class Asked:
    """A job that is asked to save, where it handles the signal."""

    request = None

    def __init__(self, original):
        self._original = original

    def begin(self, _members, _request):
        if self._original.fails:
            raise LauncherError("NO_CHECKPOINT", "none of its processes handles it")
        return self

    def ask(self):
        pass

    def memory(self):
        return None

    def told(self):
        return {}


class Copier:
    """Dumps, or does not."""

    def __init__(self, original):
        self._original = original

    def begin(self, _message, _leader, _freezer):
        if self._original.fails:
            raise LauncherError("DUMP_FAILED", "criu says no")
        return {"event": "dumped"}

    def close(self):
        pass


def real_guard(tmp_path, state, original):
    """One in the middle of its life, without sockets and signals."""
    guard = Guard.__new__(Guard)
    guard._directory = tmp_path
    guard._config = GuardConfig("m", "j", 1, ())
    guard._members = original
    guard._machine = Machine(GUARD, state)
    guard._freezer = original if state in ICE else None
    guard._saving = Asked(original)
    guard._copying = Copier(original)
    guard._recorded, guard._took_s, guard._contact_until, guard._watched = [], 0.0, 0.0, None
    guard._server = SimpleNamespace(send=lambda _document: None)
    return guard


def what_the_guard_does(guard, do):
    """Its answer as the controller sees it."""
    try:
        answer = guard._answer(do, {"do": do, "seq": 1, "signal": 10})
    except LauncherError:
        return "failed"
    if answer is None:
        return ""
    return answer["state"] if do == "alive" else answer["event"]


def consistent(state, original):
    if state in ICE:
        return original in ("ice", "doomed")
    return original in ("run", "end") if state in RUNNING else original == "end"


GUARD_CASES = [
    (state, original, do, wrote)
    for state, original, do, wrote in itertools.product(
        (*ICE, *RUNNING, "saved", "ended", "gone"),
        ("run", "ice", "doomed", "end"),
        ("freeze", "checkpoint", "record", "dump", "alive", "hold", "unhold", "thaw", "end"),
        (False, True),
    )
    if consistent(state, original)
]


@pytest.mark.parametrize("case", GUARD_CASES, ids=lambda case: "-".join(map(str, case)))
def test_the_models_guard_does_what_the_guard_does(monkeypatch, tmp_path, case):
    state, original, do, wrote = case
    monkeypatch.setattr(guard_module.files, "changed", lambda _recorded: ["a file"] if wrote else [])
    monkeypatch.setattr(guard_module.files, "record", lambda _pids: [])
    world = World(guard=state, guard_up=True, original=original, wrote=wrote)
    said = {
        (answer, after.guard, after.original)
        for answer, after in outcomes(world, do, Rules())
        if after.guard_up  # one that dies in the middle answers nothing
    }
    done = set()
    for fails in (False, True):
        process = Original(original, fails)
        monkeypatch.setattr(guard_module.freezer, "candidates", lambda _name, _ways, way=process: [way])
        monkeypatch.setattr(guard_module.saving.Saving, "begin", Asked(process).begin)
        guard = real_guard(tmp_path, state, process)
        done.add((what_the_guard_does(guard, do), guard._state, process.state))
    assert done == said


def test_every_state_of_the_guard_was_put_to_both():
    """But the two that nobody can ask anything in."""
    assert {case[0] for case in GUARD_CASES} == GUARD.keys() - {"", "freezing"}


# --- the target ---------------------------------------------------------------------------------------------------


class Record:
    """What the launcher writes down and says."""

    def __init__(self, state):
        self._machine = Machine(HOLD, state)
        self.facts = {}

    @property
    def state(self):
        return self._machine.state

    def enter(self, state):
        self._machine.enter(state)
        return True

    def event(self):
        return {"event": self.state}


def real_hold(state, lease):
    """One in the middle of its life, without processes."""
    hold, said = Hold.__new__(Hold), []
    hold._record = Record(state)
    hold._capsule = SimpleNamespace(epoch=1)
    hold._directory = None
    hold._timings = HoldTimings()
    hold._server = SimpleNamespace(send=lambda document: said.append(document["event"]))
    hold._tree = SimpleNamespace(kill=lambda: None, collect=lambda: None, leader_status=None)
    hold._report = hold._revival = None
    hold._lease = lease
    return hold, said


def lease_with(slots, asked_slots_ago=()):
    """A lease at time 0 with so much left; questions are numbered in the order given."""
    lease = Lease(0.0, length_s=LEASE_S, question_s=2)
    lease.expires = float(slots * SLOT_S)
    lease._asked = {number: -SLOT_S * age for number, age in enumerate(asked_slots_ago)}
    return lease


HOLD_CASES = [
    (state, slots, do)
    for state, slots, do in itertools.product(sorted(HOLD.keys() - {""}), (-1, 0, 1), ("go", "own", "abort", "cont"))
    if state == "held" or (slots >= 0) == (state in ("launched", "proven"))
]


@pytest.mark.parametrize(("state", "slots", "do"), HOLD_CASES)
def test_the_models_launcher_does_what_the_launcher_does(monkeypatch, state, slots, do):
    monkeypatch.setattr(hold_module, "boottime", lambda: 0.0)
    monkeypatch.setattr(hold_module.place, "newer_epoch", lambda _directory, _capsule: None)
    attempt = Attempt(capsule="claimed", state=state, up=True, lease=slots)
    after = obey(World(attempts=(attempt,), link=True), 0, do, Rules())
    hold, said = real_hold(state, None if slots < 0 else lease_with(slots))
    hold._obey({"do": do, "epoch": 1, "settle_s": 5})
    assert hold._record.state == after.attempt.state
    assert {ANSWERS[event] for event in said if event != "refused"} == ({after.inbox} if after.inbox else set())
    if state == "held" and do == "go":
        assert hold._lease is not None
        assert after.attempt.lease >= 0
    assert not after.attempt.child, "nothing starts before a grant"


@pytest.mark.parametrize("do", ["go", "own", "abort", "cont"])
@pytest.mark.parametrize("state", ["held", "launched", "proven", "owned"])
def test_a_message_of_another_epoch_changes_nothing(monkeypatch, state, do):
    """As in the model, where nobody hears it."""
    monkeypatch.setattr(hold_module, "boottime", lambda: 0.0)
    hold, said = real_hold(state, None if state == "held" else lease_with(1))
    hold._obey({"do": do, "epoch": 2, "settle_s": 5})
    assert hold._record.state == state
    assert (hold._lease is None) == (state == "held")
    assert said in (["refused"], ["failed"])


@pytest.mark.parametrize("slots", [0, 1, 2])
@pytest.mark.parametrize("age", [0, 1])
def test_a_lease_counts_in_the_model_as_in_the_launcher(slots, age):
    attempt = Attempt(capsule="claimed", state="launched", up=True, child=True, lease=slots)
    after = granted(World(attempts=(attempt,)), 0, age, Rules(lease=2))
    lease = lease_with(slots, [age])
    lease.grant(0, 0.0)
    assert lease.expires == after.attempt.lease * SLOT_S
    assert lease.granted == (slots > 0)


def test_the_models_slots_are_the_codes_seconds():
    timings = Timings()
    assert HoldTimings().lease_s == LEASE_S
    assert (timings.contact_s, GuardConfig("m", "j", 1, ()).limit_s) == (CONTACT_S, CONTACT_S)
    rules = Rules(lease=2)
    assert (rules.lease * SLOT_S, rules.contact * SLOT_S) == (LEASE_S, CONTACT_S)
