"""What a job is: where it begins, what belongs to it, and that nothing is torn apart."""

from dataclasses import replace

import pytest

from exporter.programs import Boundary
from offloader.engine.closure import Family


def closed(table, pid, own=frozenset()):
    return Family(table, own).close(pid)


def pids(job):
    return sorted(member.pid for member in job.members)


def test_a_job_is_the_whole_tree_below_the_interactive_shell(make):
    table = make.table(
        make.shell(100),
        make.process(200, 100, b"bash", b"run.sh", tty_nr=34816),
        make.process(201, 200, b"python3", b"train.py", pgid=200),
        make.process(202, 201, b"python3", b"loader.py", pgid=202),
    )
    for pid in (200, 201, 202):
        job = closed(table, pid)
        assert (job.leader.pid, pids(job), job.boundary) == (200, [200, 201, 202], Boundary.SHELL)


def test_a_pipeline_is_one_job_whichever_part_is_busy(make):
    table = make.table(
        make.shell(100),
        make.process(200, 100, b"./producer", pgid=200),
        make.process(201, 100, b"gzip", pgid=200),
        make.process(202, 201, b"helper", pgid=777),
    )
    for pid in (200, 201, 202):
        job = closed(table, pid)
        assert (job.leader.pid, pids(job), job.roots) == (200, [200, 201, 202], (200, 201))


STUB = (b"python3", b"/v/bin/grid-offloader", b"run", b"--local", b"--", b"python3", b"train.py")


def test_what_run_local_started_on_a_terminal_is_a_job_of_its_own(make):
    """Stub and keeper stay: they are the terminal. The keeper's command line is the stub's."""
    table = make.table(
        make.shell(100),
        make.process(200, 100, *STUB, tty_nr=34816),
        make.process(201, 200, *STUB, tty_nr=34817),
        make.process(202, 201, b"python3", b"train.py", tty_nr=34817),
        make.process(203, 202, b"python3", b"loader.py", pgid=202),
    )
    job = closed(table, 203)
    assert (job.leader.pid, pids(job), job.above.pid, job.boundary) == (202, [202, 203], 201, Boundary.KEEPER)


def test_what_run_local_started_without_a_terminal_is_one_with_its_stub(make):
    table = make.table(make.process(200, 1, *STUB), make.process(201, 200, b"python3", b"train.py", pgid=200))
    assert pids(closed(table, 201)) == [200, 201]


def test_what_a_job_left_in_its_group_belongs_to_it(make):
    table = make.table(
        make.process(200, 1, b"python3", b"a.py"),
        make.process(201, 1, b"python3", b"orphan.py", pgid=200),
        make.process(300, 1, b"python3", b"b.py"),
    )
    assert pids(closed(table, 201)) == [200, 201]
    assert pids(closed(table, 300)) == [300]


def test_a_group_whose_leader_ended_still_ties(make):
    table = make.table(make.process(201, 1, pgid=200), make.process(202, 1, pgid=200))
    assert pids(closed(table, 202)) == [201, 202]


def test_group_zero_is_outside_of_the_namespace_and_ties_nothing(make):
    table = make.table(make.process(201, 0, pgid=0), make.process(202, 0, pgid=0))
    assert pids(closed(table, 202)) == [202]


@pytest.mark.parametrize(
    ("above", "kind"),
    [
        ((b"sshd: alice@pts/1",), Boundary.LOGIN),
        ((b"tmux", b"new"), Boundary.MULTIPLEXER),
        ((b"SCREEN", b"-S", b"x"), Boundary.MULTIPLEXER),
        ((b"/usr/lib/systemd/systemd", b"--user"), Boundary.MANAGER),
        ((b"/usr/bin/python3", b"/usr/bin/supervisord"), Boundary.SUPERVISOR),
        ((b"/usr/sbin/CRON", b"-f"), Boundary.CRON),
        ((b"slurmstepd: [12.0]",), Boundary.SCHEDULER),
        ((b"-zsh",), Boundary.SHELL),
    ],
)
def test_the_climb_ends_below_what_starts_jobs(make, above, kind):
    table = make.table(
        make.process(100, 1, *above, comm="x"),
        make.process(200, 100, b"sh", b"-c", b"python3 x.py"),
        make.process(201, 200, pgid=200),
        make.process(300, 100, b"./other"),
    )
    job = closed(table, 201)
    assert (job.leader.pid, pids(job), job.boundary) == (200, [200, 201], kind)


def test_a_workflow_driver_is_no_boundary_its_steps_are_its_own(make):
    table = make.table(
        make.shell(100),
        make.process(200, 100, b"python3", b"/usr/bin/snakemake"),
        make.process(201, 200, b"bash", b"-c", b"step"),
    )
    assert pids(closed(table, 201)) == [200, 201]


def test_a_shell_without_job_control_is_not_torn_from_its_children(make):
    """`bash < script` on a terminal: it looks interactive, but shares its group with what it starts."""
    table = make.table(make.shell(100, sid=90), make.process(200, 100, pgid=100, sid=90))
    assert pids(closed(table, 200)) == [100, 200]


def test_what_stands_above_our_own_processes_is_a_boundary(make):
    """A script that starts the controller and a load: the load is a job of its own."""
    table = make.table(
        make.process(100, 1, b"bash", b"demo.sh"),
        make.process(200, 100, b"python3", b"controller"),
        make.process(300, 100, b"python3", b"load.py"),
    )
    job = closed(table, 300, frozenset({200}))
    assert (pids(job), job.boundary) == ([300], Boundary.OWN)


def test_an_edge_inside_is_closed_one_to_elsewhere_is_open_with_its_peer(make):
    pipe, shared = frozenset({"pipe:[7]"}), frozenset({"shm:1:2"})
    table = make.table(
        make.process(200, 1, edges=pipe | shared),
        make.process(201, 200, pgid=200, edges=pipe),
        make.process(300, 1, edges=shared),
    )
    job = closed(table, 201)
    assert [(edge.name, edge.member, edge.peer) for edge in job.open_edges] == [("shm:1:2", 200, 300)]
    assert closed({pid: one for pid, one in table.items() if pid != 300}, 200).open_edges == ()


def test_an_edge_to_something_invisible_is_open(make):
    table = make.table(make.process(200, 1, edges=frozenset({"outside:unix:[5]"})))
    (edge,) = closed(table, 200).open_edges
    assert (edge.name, edge.peer) == ("unix:[5]", None)


def test_who_traces_others_is_tied_to_them(make):
    """`strace -p`: frozen with its job, it would stop the traced one at its next system call."""
    table = make.table(
        make.process(200, 1, b"strace"), make.process(201, 200, tracer_pid=200), make.process(300, 1, tracer_pid=200)
    )
    assert [(edge.name, edge.member, edge.peer) for edge in closed(table, 200).open_edges] == [("ptrace", 200, 300)]
    assert closed(table, 300).open_edges == (), "that it is traced is told by another reason"


def test_the_dead_hold_nothing_and_are_no_job(make):
    table = make.table(make.process(200, 1), make.process(201, 200, pgid=200, state="Z"))
    assert pids(closed(table, 200)) == [200]
    assert closed(table, 201) is None
    assert closed(table, 999) is None


def test_a_loop_of_parents_read_at_different_instants_ends(make):
    table = make.table(make.process(200, 201), make.process(201, 200))
    assert pids(closed(table, 200)) == [200, 201]


def test_the_leader_is_stable_under_the_order_of_reading(make):
    parts = [make.process(200 + n, 100, pgid=200) for n in range(5)]
    forward = closed(make.table(make.shell(100), *parts), 204)
    backward = closed(dict(reversed(make.table(make.shell(100), *parts).items())), 202)
    assert forward.leader == backward.leader == parts[0]
    assert forward.members == backward.members


def test_a_reused_group_number_of_a_kernel_thread_ties_nothing(make):
    kernel = replace(make.process(50, 2), kernel=True, argv=(), pgid=0)
    table = make.table(kernel, make.process(200, 1))
    assert pids(closed(table, 50)) == [50]
