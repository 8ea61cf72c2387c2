"""How a job is asked to save its state: whose declaration holds, and when it is not asked at all."""

import signal

import pytest

from offloader.engine.candidates import candidate_for
from offloader.engine.checkpointing import declared_by
from offloader.engine.select import Option, assess, ways
from offloader.model import CheckpointPattern, ProcessClass, Reason, Resource, RuleMove, StrategyName
from offloader.model.signals import signal_name, signal_number

USR1, USR2 = 1 << signal.SIGUSR1 - 1, 1 << signal.SIGUSR2 - 1
BOTH = (StrategyName.CHECKPOINT, StrategyName.RESTART)


def candidate(make, *others, checkpoints=(), **changes):
    leader = make.process(200, **{"cpu_cores": 1.0, "handled_signals": USR1, **changes})
    policy = make.policy(checkpoints=checkpoints)
    return candidate_for(make.table(leader, *others), 200, node="head", policy=policy)


def test_the_process_itself_says_it_best(make):
    found = candidate(make, checkpoint_signal="USR1", checkpoint_file=b"/w/last", checkpoints=[CheckpointPattern(12)])
    assert (found.checkpointing.signal, found.checkpointing.file) == (signal.SIGUSR1, b"/w/last")
    assert found.no_checkpoint is None


def test_where_it_says_its_file_alone_it_is_asked_by_usr1(make):
    found = candidate(make, checkpoint_file=b"/w/last")
    assert found.checkpointing.signal == signal.SIGUSR1


def test_one_of_its_processes_may_say_it_and_handle_it(make):
    """A script that starts the training need know nothing of it."""
    child = make.process(201, 200, pgid=200, checkpoint_signal="USR1", handled_signals=USR1)
    found = candidate(make, child, handled_signals=0)
    assert found.checkpointing.signal == signal.SIGUSR1


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({}, "nobody says"),
        ({"checkpoint_signal": "NONSENSE"}, "NONSENSE"),
        ({"checkpoint_signal": "KILL"}, "KILL"),
        ({"checkpoint_signal": ""}, "is no signal"),
        ({"checkpoint_signal": "USR2"}, "none of its processes handles USR2"),
    ],
)
def test_it_is_not_asked_where_that_would_end_it_or_nobody_knows_how(make, changes, seen):
    found = candidate(make, **changes)
    assert found.checkpointing is None
    assert found.no_checkpoint.reason is Reason.NO_CHECKPOINT
    assert seen in found.no_checkpoint.seen
    (way,) = ways(found, (StrategyName.CHECKPOINT,))
    assert way.blocked is found.no_checkpoint
    assert not way.owner_only, "its owner cannot bear that for it either"


def test_the_first_pattern_of_the_cluster_file_that_fits_says_it_for_those_that_say_nothing(make):
    patterns = (
        CheckpointPattern(signal.SIGUSR2, process_class=ProcessClass.INFERENCE),
        CheckpointPattern(signal.SIGUSR2, programs=("other*",)),
        CheckpointPattern(signal.SIGUSR1, "last.ckpt", 90.0, ProcessClass.TRAINING, ("work.py",)),
        CheckpointPattern(signal.SIGUSR2),
    )
    found = candidate(make, process_class=ProcessClass.TRAINING, cwd="/home/alice", checkpoints=patterns)
    assert found.checkpointing.signal == signal.SIGUSR1
    assert (found.checkpointing.file, found.checkpointing.grace_s) == (b"/home/alice/last.ckpt", 90.0)


def test_a_file_below_a_directory_that_cannot_be_read_is_nowhere(make):
    found = candidate(make, cwd=None, checkpoints=(CheckpointPattern(signal.SIGUSR1, "last.ckpt"),))
    assert found.no_checkpoint.reason is Reason.NO_CHECKPOINT


def test_a_rule_says_it_for_those_that_say_nothing_themselves(make):
    rule = make.rule(move=RuleMove(checkpoint=CheckpointPattern(signal.SIGUSR1)))
    assert declared_by(rule, candidate(make)).checkpointing.source == f"rule {rule.key}"
    own = candidate(make, checkpoint_signal="USR2", handled_signals=USR1 | USR2)
    assert declared_by(rule, own).checkpointing.signal == signal.SIGUSR2
    deaf = declared_by(rule, candidate(make, handled_signals=0))
    assert deaf.no_checkpoint.reason is Reason.NO_CHECKPOINT


def test_what_saves_by_itself_is_asked_rather_than_restarted(make):
    """It loses less, and needs nobody's word that a restart is harmless."""
    rule = make.rule()
    found = assess(candidate(make, checkpoint_signal="USR1", age_s=3000.0), rule, {Resource.CPU: 0.5}, BOTH)
    assert isinstance(found, Option)
    assert (found.way.strategy, found.waits) == (StrategyName.CHECKPOINT, None)
    assert found.candidate.checkpointing.signal == signal.SIGUSR1
    other = assess(candidate(make, age_s=3000.0), rule, {Resource.CPU: 0.5}, BOTH)
    assert (other.way.strategy, other.waits.reason) == (StrategyName.RESTART, Reason.NOT_RESTART_SAFE)


def test_what_a_rule_declares_goes_with_its_choice(make):
    rule = make.rule(move=RuleMove(checkpoint=CheckpointPattern(signal.SIGUSR1, grace_s=5.0)))
    found = assess(candidate(make, age_s=3000.0), rule, {Resource.CPU: 0.5}, BOTH)
    assert found.candidate.checkpointing.grace_s == 5.0


@pytest.mark.parametrize("text", ["USR1", "usr1", "SIGUSR1", "10"])
def test_signals_by_the_names_that_people_write(text):
    assert signal_number(text) == 10
    assert signal_name(10) == "USR1"


@pytest.mark.parametrize("text", ["", "KILL", "STOP", "9", "0", "-1", "65", "1.5", "USR", "SIG", "²"])
def test_what_is_no_signal_that_a_process_can_handle(text):
    assert signal_number(text) is None
