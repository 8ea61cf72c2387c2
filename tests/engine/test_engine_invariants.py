"""Whatever happens, in whatever order: the invariants of docs/engine.md, by generated sequences of ticks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from offloader.engine.approval import answered
from offloader.engine.evaluate import evaluate
from offloader.engine.place import place
from offloader.engine.plan import moved, plan, started
from offloader.engine.schema import EngineState, RulePhase, RuleState, Target
from offloader.model import (
    Budgets,
    Capacity,
    DecisionKind,
    Mode,
    MoveState,
    Obstacle,
    Reading,
    Reason,
    Resource,
    Role,
    Rule,
    Toggles,
    Truth,
)

pytestmark = pytest.mark.slow

QUICK = settings(deadline=None, max_examples=100, derandomize=True, suppress_health_check=list(HealthCheck))
SEQUENCES = settings(QUICK, max_examples=70, stateful_step_count=30)
SEEDS = 6
GIB = 1 << 30
HEAD = "head"
RESOURCES = (Resource.CPU, Resource.MEMORY)
SCRAPE_S = 5.0
PROBLEMS = (Reason.QUERY_FAILED, Reason.NO_DATA, Reason.AMBIGUOUS, Reason.STALE, Reason.DOWN, Reason.WARNINGS)

ratios = st.floats(0.0, 1.2)
good = st.builds(lambda value, age: Reading(HEAD, value, age), ratios, st.floats(0.0, 3 * SCRAPE_S))
bad = st.one_of(
    st.builds(lambda reason: Reading(HEAD, problem=reason), st.sampled_from(PROBLEMS)),
    st.builds(lambda value: Reading(HEAD, value, 1.0), st.sampled_from([float("nan"), float("inf"), -0.5])),
    st.builds(lambda value: Reading(HEAD, value, 99.0), ratios),
    st.builds(lambda value: Reading(HEAD, value, None), ratios),
)
readings = st.one_of(good, good, good, bad)
modes = st.sampled_from(Mode)
ends = st.sampled_from([MoveState.DONE, MoveState.ROLLED_BACK, MoveState.LOST, None])
rules_ = st.builds(
    lambda resource, threshold, gap, **rest: Rule(
        "head", "", "x", resource, threshold, max(0.05, threshold - gap), **rest
    ),
    st.sampled_from(RESOURCES),
    st.floats(0.3, 0.95),
    st.floats(0.0, 0.3),
    for_s=st.sampled_from([0.0, 10.0, 30.0]),
    keep_firing_for_s=st.sampled_from([0.0, 20.0]),
    cooldown_s=st.sampled_from([0.0, 30.0, 60.0]),
    look_back_s=st.sampled_from([0.0, 20.0, 60.0]),
    mode=st.sampled_from([None, None, None, None, Mode.AUTO, Mode.ADVISE, Mode.APPROVE]),
)
rule_sets = st.lists(rules_, min_size=1, max_size=3).map(
    lambda found: tuple(replace(one, name=f"r{index}") for index, one in enumerate(found))
)


@st.composite
def worlds(draw, make):
    """Workers in every condition, and jobs of every size; most of both are fit for a move."""

    def mostly(usual, *others):
        return draw(st.sampled_from([usual] * 24 + list(others)))

    workers = []
    for index in range(mostly(3, 0, 1, 2, 4)):
        total = Capacity(mostly(16.0, 0.66, 4.0), mostly(64, 2, 16) * GIB)
        name = f"w{index}"
        part = Capacity(total.cores / 4, total.memory_bytes // 4)
        pressure = {one: Reading(name, mostly(0.1, 0.0, 0.4, 0.65, 0.9), mostly(1.0, 99.0, None)) for one in RESOURCES}
        workers.append(
            make.node(
                name,
                total=total,
                offer=mostly(total, part, None),
                up=mostly(True, False),
                draining=mostly(False, True),
                role=mostly(Role.WORKER, Role.HEAD),
                pressure=pressure,
            )
        )
    jobs = []
    for index in range(draw(st.integers(2, 6))):
        age_s = draw(st.sampled_from([5.0, 60.0, 100.0, 700.0, 5000.0]))
        process = make.process(500 + index, uid=mostly(1000, 1001), age_s=age_s)
        cores = draw(st.sampled_from([0.01, 0.3, 0.7, 1.5, 3.0, 8.0]))
        usage = Capacity(cores, draw(st.sampled_from([0, 1, 4, 8, 16])) * GIB)
        jobs.append(
            make.candidate(
                leader=process,
                age_s=age_s,
                usage=usage,
                needs=usage,
                restart_safe=mostly(True, False),
                obstacles=mostly((), (Obstacle(Reason.TRACED, "x"),)),
                owner_only=mostly((), (Obstacle(Reason.CRON, "x"),)),
            )
        )
    return (make.head(), *workers), tuple(jobs)


def lines(decisions):
    """What a decision says; NaN compares unequal to itself, so by its text."""
    return [repr(one) for one in decisions]


def test_nothing_ever_moves_but_within_every_bound(make):  # noqa: C901 - its machine's builders are a fixture
    """Ticks with changing data, moves that start, commit and fail, restarts, toggles."""
    starts, announced, approved = [], [], []

    class Engine(RuleBasedStateMachine):
        @initialize(
            rules=rule_sets,
            budgets=st.sampled_from([Budgets(), Budgets(1, 1, 1, 2, 3), Budgets(1, 4, 4, 1)]),
            notice_s=st.sampled_from([0.0, 0.0, 10.0, 60.0]),
        )
        def begin(self, rules, budgets, notice_s):
            self.rules = rules
            self.policy = make.policy(budgets=budgets, notice_s=notice_s)
            self.told_t = {}
            self.agreed = {}
            self.stall = None
            self.alerted = frozenset()
            self.now = 10_000.0
            self.state = started(self.now, self.policy, None)
            self.started_t = self.now
            self.moves = []
            self.last_end_t = None
            self.born = 0
            self.all_is_well_with(1.0)

        @rule(world=worlds(make))
        def the_world_changes(self, world):
            self.nodes, self.jobs = world

        @rule(ceiling=modes, kill=st.sampled_from([False, False, False, True]), cpu=st.sampled_from([None, 0.5]))
        def somebody_toggles(self, ceiling, kill, cpu):
            self.toggles = Toggles(ceiling, {} if cpu is None else {Resource.CPU: cpu}, kill)

        @rule(agreed=st.sampled_from([True, True, True, False]), uid=st.sampled_from([0, 1000]))
        def somebody_answers(self, agreed, uid):
            """Whoever is asked first; he agrees to that job, that target, those strategies, for a while."""
            for one in self.state.proposals:
                if one.open and not one.approved:
                    self.state = answered(self.state, one, self.policy, by_uid=uid, agreed=agreed, now=self.now)
                    said = (one.target, one.ways, self.now) if agreed else None
                    self.agreed[one.pid] = said
                    return

        @rule(stall=st.sampled_from([None, None, None, 0.1, 0.2, 0.3]))
        def memory_is_waited_for(self, stall):
            self.stall = stall

        @rule(alerted=st.sets(st.sampled_from(["head/r0", "head/r1"])))
        def alerts_come_and_go(self, alerted):
            self.alerted = frozenset(alerted)

        @rule(cores=st.sampled_from([0.5, 1.0, 2.0, 4.0]))
        def all_is_well(self, cores):
            self.all_is_well_with(cores)

        def all_is_well_with(self, cores):
            """Idle workers and new jobs, so that a sequence reaches a move however wild the rest of it is.

            Among them traps: better targets and cheaper jobs, each with one thing that forbids it.
            """
            self.toggles = Toggles(Mode.AUTO)
            idle = {"cpu": 0.0, "memory": 0.0}
            old = {one: Reading("a5", 0.0, 99.0) for one in RESOURCES}
            self.nodes = (
                make.head(),
                make.node("a1", **idle, role=Role.HEAD),
                make.node("a2", **idle, up=False),
                make.node("a3", **idle, draining=True),
                make.node("a4", **idle, offer=None),
                make.node("a5", pressure=old),
                make.node("w0"),
                make.node("w1"),
            )
            self.born += 1
            first = 1000 * self.born
            traps = (
                {"obstacles": (Obstacle(Reason.TRACED, "x"),)},
                {"owner_only": (Obstacle(Reason.CRON, "x"),)},
                {"restart_safe": False},
                {"age_s": 59.0},
            )
            self.jobs = tuple(make.candidate(first + n, cores, 4 * GIB) for n in range(3)) + tuple(
                make.candidate(first + 10 + n, 5.0, 8 * GIB, **{"age_s": 61.0, **trap}) for n, trap in enumerate(traps)
            )

        @rule()
        def the_controller_restarts(self):
            kept = EngineState.from_json(json.loads(json.dumps(self.state.to_json())))
            assert kept == self.state
            self.state = started(self.now, self.policy, kept)
            self.started_t = self.now

        def a_move_ends(self, end):
            """The oldest in flight, if any."""
            running = [index for index, one in enumerate(self.moves) if not one.state.final]
            if not running or end is None:
                return
            reason = None if end is MoveState.DONE else Reason.NOT_PROVEN
            self.moves[running[0]] = replace(self.moves[running[0]], state=end, reason=reason, updated_t=self.now)
            self.state = moved(self.state, self.moves[running[0]], self.now)
            self.last_end_t = self.now

        @rule(data=st.data())
        def a_move_goes_on(self, data):
            running = [index for index, one in enumerate(self.moves) if one.state is MoveState.PLANNED]
            if running:
                index = data.draw(st.sampled_from(running))
                self.moves[index] = replace(self.moves[index], state=MoveState.FROZEN, updated_t=self.now)

        @rule(value=st.floats(0.8, 1.0), ticks=st.integers(6, 24), end=ends, kill=st.sampled_from([False, False, True]))
        def pressure_lasts(self, value, ticks, end, kill):
            self.a_move_ends(end)
            self.toggles = replace(self.toggles, kill_switch=kill)
            for index in range(ticks):
                if index % 3 == 2:
                    self.somebody_answers(agreed=index % 4 > 0, uid=1000 * (index % 2))
                self.tick({one.key: Reading(HEAD, value, 1.0) for one in self.rules}, 5.0)

        @rule(data=st.data(), step=st.sampled_from([5.0, 20.0, 400.0, 700.0, 3700.0]), end=ends)
        def time_passes(self, data, step, end):
            self.a_move_ends(end)
            self.tick({one.key: data.draw(readings) for one in self.rules}, step)

        def tick(self, values, step):
            self.now += step
            snapshot = make.snapshot(
                self.now,
                {key.removeprefix("head/"): value for key, value in values.items()},
                nodes=self.nodes,
                candidates=self.jobs,
                toggles=self.toggles,
                memory_stall=self.stall,
                alerted=self.alerted,
                moves=tuple(one for one in self.moves if not one.state.final or one.updated_t > self.now - 3600),
            )
            before = self.state
            self.state, decisions = plan(self.rules, before, snapshot, self.policy)
            self.same_inputs_same_decisions(before, snapshot, decisions)
            self.lower_ceilings_only_hold_back(before, snapshot, decisions)
            self.notices_are_given_once(before)
            acting = [one for one in decisions if one.kind is DecisionKind.MOVE]
            assert len(acting) <= self.policy.budgets.starts_per_tick_and_node
            for decision in acting:
                self.check(decision, snapshot)
                self.begin_move(decision)

        def same_inputs_same_decisions(self, before, snapshot, decisions):
            turned = replace(
                snapshot,
                nodes=dict(reversed(snapshot.nodes.items())),
                values=dict(reversed(snapshot.values.items())),
            )
            state, again = plan(self.rules, before, turned, self.policy)
            assert lines(again) == lines(decisions)
            assert state == self.state

        def lower_ceilings_only_hold_back(self, before, snapshot, decisions):
            """Pausing shows what would be done, where one ceiling rules them all."""
            if any(one.mode is not None for one in self.rules):
                return
            state, paused = plan(
                self.rules, before, replace(snapshot, toggles=replace(self.toggles, ceiling=Mode.OBSERVE)), self.policy
            )
            assert replace(state, notices=(), proposals=()) == replace(self.state, notices=(), proposals=())
            assert not any(one.open for one in (*state.notices, *state.proposals))
            assert all(one.kind is not DecisionKind.MOVE for one in paused)
            assert [(one.candidate, one.target) for one in paused] == [(one.candidate, one.target) for one in decisions]

        def check(self, decision, snapshot):
            rule_ = next(one for one in self.rules if one.key == decision.rule)
            reading = snapshot.values[decision.rule, HEAD]
            # never on unknown
            assert reading.problem is None
            assert reading.value >= 0
            assert reading.age_s <= 3 * SCRAPE_S
            assert decision.value == reading.value >= decision.relief
            # never above the ceiling
            least = Mode.AUTO if decision.approved_by is None else Mode.APPROVE
            assert self.toggles.ceiling.allows(least)
            assert not self.toggles.kill_switch
            assert rule_.mode is None or rule_.mode.allows(least)
            # never within a cooldown
            assert self.now >= self.started_t + self.policy.initial_cooldown_s
            if self.last_end_t is not None:
                assert self.now >= self.last_end_t + max(rule_.cooldown_s, rule_.look_back_s + SCRAPE_S)
            self.check_candidate(decision)
            self.check_target(decision)

        def notices_are_given_once(self, before):
            """Judged by an own bookkeeping: never a second one for a process within its interval."""
            known = {(one.process, one.given_t) for one in before.notices}
            for one in self.state.notices:
                if (one.process, one.given_t) not in known:
                    assert one.given_t == self.now
                    assert self.now - self.told_t.get(one.pid, -1e9) >= self.policy.budgets.process_interval_s
                    agreed = self.agreed.get(one.pid) is not None
                    assert self.toggles.ceiling.allows(Mode.APPROVE if agreed else Mode.AUTO)
                    assert not self.toggles.kill_switch
                    self.told_t[one.pid] = self.now

        def check_candidate(self, decision):
            chosen = decision.candidate
            own = decision.approved_by == chosen.identity.uid
            if self.policy.notice_s and not own and (self.stall or 0.0) <= self.policy.notice_stall:
                assert self.now - self.told_t[chosen.leader.pid] >= self.policy.notice_s
                announced.append(chosen.leader.pid)
            assert chosen in self.jobs
            assert chosen.movable
            if decision.approved_by is None:
                assert not chosen.owner_only
                assert chosen.restart_safe
            else:
                target, ways, agreed_t = self.agreed[chosen.leader.pid]
                assert (decision.target, decision.strategy in ways) == (target, True)
                assert set(decision.fallbacks) <= set(ways)
                assert self.now <= agreed_t + self.policy.notice_s + 300
                approved.append(chosen.leader.pid)
            assert chosen.age_s >= 60
            same = [one for one in self.moves if one.identity == chosen.identity]
            assert all(one.state.final and one.updated_t <= self.now - 600 for one in same)

        def check_target(self, decision):
            node = next(one for one in self.nodes if one.name == decision.target)
            usage = decision.candidate.usage
            assert node.role is Role.WORKER
            assert node.name != HEAD
            assert node.up
            assert not node.draining
            assert usage.fits(node.offer)
            for resource, part in (
                (Resource.CPU, usage.cores / node.total.cores),
                (Resource.MEMORY, usage.memory_bytes / node.total.memory_bytes),
            ):
                assert node.pressure[resource].age_s <= 3 * SCRAPE_S
                assert node.pressure[resource].value + part < self.policy.thresholds[resource] * 0.9 + 1e-9

        def begin_move(self, decision):
            identity = decision.candidate.identity
            number = len(self.moves)
            new = make.move(
                MoveState.PLANNED, identity=identity, created_t=self.now, id=f"m{number}", rule=decision.rule
            )
            self.moves.append(new)
            starts.append(new.id)

        @invariant()
        def budgets_hold(self):
            if not hasattr(self, "moves"):
                return
            budgets = self.policy.budgets
            flying = [one for one in self.moves if not one.state.final]
            assert len(flying) <= min(budgets.in_flight, budgets.in_flight_per_node)
            for uid in (1000, 1001):
                assert sum(one.identity.uid == uid for one in flying) <= budgets.in_flight_per_user
            assert sum(one.created_t > self.now - 3600 for one in self.moves) <= budgets.per_hour

    # What a seed draws depends on the modules that other tests have loaded (Hypothesis takes constants from them).
    for number in range(SEEDS):
        run_state_machine_as_test(seed(number)(Engine), settings=SEQUENCES)
        if len(starts) > 40 and len(announced) > 10 and len(approved) > 10:
            return
    told = f"{len(announced)} of them announced, {len(approved)} agreed to"
    pytest.fail(f"{len(starts)} moves, {told}: too few to prove anything")


@QUICK
@given(data=st.data())
def test_a_target_stays_under_its_threshold_with_everything_reserved(make, data):
    nodes, jobs = data.draw(worlds(make))
    views = {node.name: node for node in nodes}
    policy = make.policy()
    reserved = {name: Capacity(data.draw(st.floats(0.0, 4.0)), data.draw(st.integers(0, 8 * GIB))) for name in views}
    for job in jobs:
        target = place(job, views, reserved, policy, stale_after_s=15.0)
        if not isinstance(target, Target):
            continue
        node, taken = views[target.node], reserved[target.node]
        assert node.role is Role.WORKER
        assert job.needs.fits(node.offer - taken)
        assert (taken.cores + job.usage.cores) / node.total.cores < policy.thresholds[Resource.CPU] * 0.9 + 1e-9
        for resource, predicted in target.predicted.items():
            assert predicted < policy.thresholds[resource] * 0.9 + 1e-9


@QUICK
@given(
    rule_=rules_,
    ticks=st.lists(
        st.tuples(
            st.sampled_from([5.0, 5.0, 5.0, 5.0, 10.0, 30.0, 90.0]),
            st.sampled_from([0.99, 0.99, 0.99, 0.99, 0.99, 0.6, 0.1, None]),
            st.sampled_from([None, None, None, None, None, *Truth]),
            st.sampled_from([False, False, False, True]),
        ),
        min_size=6,
        max_size=40,
    ),
)
def test_for_is_always_served_in_full_before_a_rule_fires_by_itself(make, rule_, ticks):
    """Judged by an own bookkeeping: time between two neighbouring true answers, since the last false one.

    A rule that fires without is hurried, hence has its alert at that moment.
    """
    policy, state, now = make.policy(), RuleState(), 1000.0
    served, before = 0.0, None
    for step, value, when, alerted in ticks:
        now += step
        reading = Reading(HEAD, value, 1.0, Reason.STALE if value is None else None)
        fired = state.beneath in (RulePhase.FIRING, RulePhase.RELIEVING)
        state, verdict = evaluate(
            rule_,
            state,
            reading,
            when,
            threshold=rule_.threshold,
            now=now,
            policy=policy,
            interval_s=SCRAPE_S,
            alerted=alerted,
        )
        if verdict.truth is Truth.TRUE:
            served += step if before is Truth.TRUE else 0.0
        elif verdict.truth is Truth.FALSE:
            served = 0.0
        before = verdict.truth
        if state.beneath is RulePhase.FIRING and not fired:
            assert alerted if state.hurried else served >= rule_.for_s
        if state.hurried:
            assert state.beneath in (RulePhase.FIRING, RulePhase.RELIEVING)
            assert alerted or verdict.truth is Truth.UNKNOWN
        if verdict.truth is Truth.UNKNOWN:
            assert not verdict.acting
            assert verdict.reason is not None
        if verdict.acting:
            assert verdict.value >= verdict.relief
            assert (verdict.reason, verdict.truth) == (None, Truth.TRUE)
        else:
            assert verdict.reason is not None
        assert RuleState.from_json(json.loads(json.dumps(state.to_json()))) == state


@QUICK
@given(rule_=rules_, values=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=30))
def test_a_rule_that_fires_goes_on_until_relief(make, rule_, values):
    policy, now = make.policy(), 1000.0
    state = RuleState(beneath=RulePhase.FIRING, phase=RulePhase.FIRING, last_t=now, last_truth=Truth.TRUE)
    for value in values:
        now += 5.0
        state, verdict = evaluate(
            rule_,
            state,
            Reading(HEAD, value, 1.0),
            None,
            threshold=rule_.threshold,
            now=now,
            policy=policy,
            interval_s=SCRAPE_S,
        )
        if value < verdict.relief:
            assert not verdict.acting
            return
        assert verdict.acting


@pytest.mark.parametrize("size", [2, 5])
@QUICK
@given(data=st.data())
def test_jobs_partition_the_processes(make, data, size):
    """Every process is in exactly one job, and asking by any of its pids gives the same job."""
    from offloader.engine.closure import Family

    names = (b"-bash", b"python3", b"sshd", b"bash", b"raylet")
    table = make.table(
        *(
            make.process(
                100 + index,
                data.draw(st.integers(99, 100 + size)),
                data.draw(st.sampled_from(names)),
                pgid=data.draw(st.integers(99, 100 + size)),
                edges=frozenset(data.draw(st.sets(st.sampled_from(["pipe:[1]", "pipe:[2]"])))),
            )
            for index in range(size)
        )
    )
    family = Family(table)
    seen = {}
    for pid in table:
        job = family.close(pid)
        assert pid in job.pids
        for member in job.pids:
            assert seen.setdefault(member, job.pids) == job.pids
        for edge in job.open_edges:
            assert edge.peer not in job.pids
