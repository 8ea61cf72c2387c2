"""Telling programs apart by argv: protected ones, boundaries, and shells that somebody types into."""

from dataclasses import dataclass, replace

import pytest

from exporter import programs
from exporter.programs import Boundary, Hindrance, boundary_by_name, is_interactive_shell, protection_of
from offloader.model import Reason

TTY = 34816


@pytest.mark.parametrize(
    ("argv", "tty", "interactive"),
    [
        ((b"-bash",), TTY, True),
        ((b"-bash",), 0, True),
        ((b"bash",), TTY, True),
        ((b"/bin/bash", b"-l"), TTY, True),
        ((b"bash", b"-i"), 0, True),
        ((b"zsh", b"--login"), 0, True),
        ((b"/bin/bash", b"--init-file", b"/x/shellIntegration.sh"), TTY, True),
        ((b"bash", b"train.sh"), TTY, False),
        ((b"bash", b"-c", b"python3 x.py"), TTY, False),
        ((b"bash", b"-lc", b"python3 x.py"), TTY, False),
        ((b"-bash", b"-c", b"cmd"), 0, False),
        ((b"bash", b"-e", b"/home/a/run.sh"), TTY, False),
        ((b"bash", b"-s"), 0, False),
        ((b"bash",), 0, False),
        ((b"python3",), TTY, False),
        ((), TTY, False),
    ],
)
def test_interactive_shells_are_told_from_shells_that_run_a_script(argv, tty, interactive):
    assert is_interactive_shell(Running(argv, tty)) is interactive


@dataclass(frozen=True)
class Running:
    argv: tuple[bytes, ...]
    tty_nr: int = 0
    comm: str = "x"
    exe: str | None = "/x/y"


@pytest.mark.parametrize(
    ("argv", "keeps"),
    [
        ((b"python3", b"/v/bin/grid-offloader", b"run", b"--local", b"--", b"./x"), True),
        ((b"python3", b"-m", b"offloader.cli", b"run", b"--cwd", b"/x", b"--local", b"./x"), True),
        ((b"python3", b"/v/bin/grid-offloader", b"--socket", b"/s", b"run", b"--local", b"./x"), True),
        ((b"python3", b"/v/bin/grid-offloader", b"run", b"--", b"./x", b"--local"), False),
        ((b"python3", b"/v/bin/grid-offloader", b"serve"), False),
        ((b"./x", b"run", b"--local"), False),
    ],
)
def test_who_keeps_a_jobs_terminal(argv, keeps):
    """Below it a job begins."""
    assert (boundary_by_name(Running(argv)) is Boundary.KEEPER) is keeps


def test_every_word_is_one_of_the_reason_codes():
    """One word for one thing, in metrics, `why` and the API."""
    assert {str(one) for one in Hindrance} <= {str(one) for one in Reason}


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ((b"/usr/bin/python3", b"/opt/v/bin/grid-offloader", b"serve"), Hindrance.PROTECTED),
        ((b"/usr/bin/python3", b"-m", b"exporter"), Hindrance.PROTECTED),
        ((b"python3", b"/var/lib/g/bin/launcher-3fa9.pyz", b"guard"), Hindrance.PROTECTED),
        ((b"/v/ray/core/src/ray/raylet/raylet", b"--x"), Hindrance.PROTECTED),
        ((b"/v/ray/core/src/ray/gcs/gcs_server",), Hindrance.PROTECTED),
        ((b"ray::train_epoch",), Hindrance.PROTECTED),
        ((b"ray::IDLE",), Hindrance.PROTECTED),
        ((b"/v/bin/python3", b"-u", b"/v/lib/ray/dashboard/dashboard.py"), Hindrance.PROTECTED),
        ((b"/v/bin/python3", b"-u", b"/v/lib/ray/_private/log_monitor.py"), Hindrance.PROTECTED),
        ((b"/v/bin/python3", b"/v/bin/ray", b"start", b"--head"), Hindrance.PROTECTED),
        ((b"/usr/bin/prometheus", b"--config.file=x"), Hindrance.PROTECTED),
        ((b"sshd: alice@pts/0",), Hindrance.PROTECTED),
        ((b"/usr/sbin/slurmctld",), Hindrance.PROTECTED),
        ((b"supervise", b"x"), Hindrance.PROTECTED),
        ((b"tmux", b"attach"), Hindrance.INTERACTIVE),
        ((b"vim", b"x.py"), Hindrance.INTERACTIVE),
        (
            (b"/home/a/.vscode-server/bin/f/node", b"/home/a/.vscode-server/bin/f/out/server-main.js"),
            Hindrance.INTERACTIVE,
        ),
        ((b"srun", b"-n", b"4", b"a.out"), Hindrance.SCHEDULER_CLIENT),
        ((b"nohup", b"mpirun", b"a.out"), Hindrance.SCHEDULER_CLIENT),
        ((b"ssh", b"other"), Hindrance.SCHEDULER_CLIENT),
        ((b"docker", b"run", b"x"), Hindrance.SCHEDULER_CLIENT),
        ((b"python3", b"-m", b"snakemake"), Hindrance.WORKFLOW_DRIVER),
        ((b"java", b"-cp", b"x.jar", b"nextflow.cli.Launcher"), Hindrance.WORKFLOW_DRIVER),
        ((b"python3", b"/opt/bin/jupyter-lab"), Hindrance.WORKFLOW_DRIVER),
        ((b"python3", b"-m", b"ipykernel_launcher", b"-f", b"x"), Hindrance.WORKFLOW_DRIVER),
        ((b"rsync", b"-a", b"x", b"y:"), Hindrance.FILE_TRANSFER),
        ((b"nice", b"-n", b"10", b"rclone", b"copy"), Hindrance.FILE_TRANSFER),
        ((b"postgres", b"-D", b"x"), Hindrance.DAEMON),
    ],
)
def test_protected_programs_are_known_by_name(argv, reason):
    protection = protection_of(Running(argv))
    assert protection is not None
    assert protection.reason is reason


@pytest.mark.parametrize(
    "argv",
    [
        (b"python3", b"train.py"),
        (b"python3", b"initialize_db.py"),
        (b"python3", b"start_job.py"),
        (b"python3", b"ray_tracer.py"),
        (b"python3", b"ray.py"),
        (b"python3", b"prometheus_data.py"),
        (b"python3", b"offloader.py"),
        (b"./screening",),
        (b"./code",),
        (b"bash", b"rsync_all.sh"),
        (b"stress-ng", b"--cpu", b"2"),
    ],
)
def test_work_with_a_similar_name_is_not_protected(argv):
    process = Running(argv)
    assert protection_of(process) is None
    assert boundary_by_name(process) is None


def test_a_rewritten_title_is_still_known_by_its_comm_or_executable():
    process = replace(Running((b"whatever",)), comm="gcs_server")
    assert protection_of(process) is not None
    process = replace(Running((b"whatever",)), exe="/v/raylet (deleted)")
    assert protection_of(process) is not None


def test_what_is_remembered_stays_small():
    """However long command lines are, and however many: none of them is kept."""
    program = Running((b"python3", b"train.py", b"x" * 100_000))
    assert protection_of(program) is None
    before = programs._remembered.cache_info().currsize
    for number in range(50):
        assert protection_of(Running((b"python3", b"train.py", b"%d" % number * 50_000))) is None
        assert boundary_by_name(Running((b"bash", b"-c", b"%d" % number * 50_000))) is None
    assert programs._remembered.cache_info().currsize == before


def test_a_program_behind_many_options_is_still_known():
    """A workflow driver's Java has dozens."""
    argv = (b"java", *[b"-Dkey%d=value" % number for number in range(120)], b"nextflow.cli.Launcher", b"run")
    assert protection_of(Running(argv)).reason is Hindrance.WORKFLOW_DRIVER
