"""Telling programs apart by argv: protected ones, boundaries, and shells that somebody types into."""

from dataclasses import replace

import pytest

from offloader.engine.programs import boundary_by_name, is_interactive_shell, protection_of
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
def test_interactive_shells_are_told_from_shells_that_run_a_script(make, argv, tty, interactive):
    assert is_interactive_shell(_with(make, argv, tty)) is interactive


def _with(make, argv, tty):
    return replace(make.process(5, 1), argv=argv, comm="x", exe="/x/y", tty_nr=tty)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ((b"/usr/bin/python3", b"/opt/v/bin/grid-offloader", b"serve"), Reason.PROTECTED),
        ((b"/usr/bin/python3", b"-m", b"exporter"), Reason.PROTECTED),
        ((b"python3", b"/var/lib/g/bin/launcher-3fa9.pyz", b"guard"), Reason.PROTECTED),
        ((b"/v/ray/core/src/ray/raylet/raylet", b"--x"), Reason.PROTECTED),
        ((b"/v/ray/core/src/ray/gcs/gcs_server",), Reason.PROTECTED),
        ((b"ray::train_epoch",), Reason.PROTECTED),
        ((b"ray::IDLE",), Reason.PROTECTED),
        ((b"/v/bin/python3", b"-u", b"/v/lib/ray/dashboard/dashboard.py"), Reason.PROTECTED),
        ((b"/v/bin/python3", b"-u", b"/v/lib/ray/_private/log_monitor.py"), Reason.PROTECTED),
        ((b"/v/bin/python3", b"/v/bin/ray", b"start", b"--head"), Reason.PROTECTED),
        ((b"/usr/bin/prometheus", b"--config.file=x"), Reason.PROTECTED),
        ((b"sshd: alice@pts/0",), Reason.PROTECTED),
        ((b"/usr/sbin/slurmctld",), Reason.PROTECTED),
        ((b"supervise", b"x"), Reason.PROTECTED),
        ((b"tmux", b"attach"), Reason.INTERACTIVE),
        ((b"vim", b"x.py"), Reason.INTERACTIVE),
        (
            (b"/home/a/.vscode-server/bin/f/node", b"/home/a/.vscode-server/bin/f/out/server-main.js"),
            Reason.INTERACTIVE,
        ),
        ((b"srun", b"-n", b"4", b"a.out"), Reason.SCHEDULER_CLIENT),
        ((b"nohup", b"mpirun", b"a.out"), Reason.SCHEDULER_CLIENT),
        ((b"ssh", b"other"), Reason.SCHEDULER_CLIENT),
        ((b"docker", b"run", b"x"), Reason.SCHEDULER_CLIENT),
        ((b"python3", b"-m", b"snakemake"), Reason.WORKFLOW_DRIVER),
        ((b"java", b"-cp", b"x.jar", b"nextflow.cli.Launcher"), Reason.WORKFLOW_DRIVER),
        ((b"python3", b"/opt/bin/jupyter-lab"), Reason.WORKFLOW_DRIVER),
        ((b"python3", b"-m", b"ipykernel_launcher", b"-f", b"x"), Reason.WORKFLOW_DRIVER),
        ((b"rsync", b"-a", b"x", b"y:"), Reason.FILE_TRANSFER),
        ((b"nice", b"-n", b"10", b"rclone", b"copy"), Reason.FILE_TRANSFER),
        ((b"postgres", b"-D", b"x"), Reason.DAEMON),
    ],
)
def test_protected_programs_are_known_by_name(make, argv, reason):
    protection = protection_of(_with(make, argv, 0))
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
def test_work_with_a_similar_name_is_not_protected(make, argv):
    process = _with(make, argv, 0)
    assert protection_of(process) is None
    assert boundary_by_name(process) is None


def test_a_rewritten_title_is_still_known_by_its_comm_or_executable(make):
    process = replace(_with(make, (b"whatever",), 0), comm="gcs_server")
    assert protection_of(process) is not None
    process = replace(_with(make, (b"whatever",), 0), exe="/v/raylet (deleted)")
    assert protection_of(process) is not None
