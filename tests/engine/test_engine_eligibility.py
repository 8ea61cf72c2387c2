"""One test per reason: what keeps a job where it is, for everybody or for all but its owner."""

from dataclasses import replace

import pytest

from offloader.engine.candidates import candidate_for
from offloader.engine.remedies import REMEDIES
from offloader.model import Candidate, Reason

SERVICE = "/system.slice/simulation.service"


def judged(make, *processes, pid=200, policy=None, **known):
    table = make.table(*processes)
    found = candidate_for(table, pid, node="head", policy=policy or make.policy(), **known)
    assert isinstance(found, Candidate)
    return found


def reasons(candidate):
    return [one.reason for one in candidate.obstacles], [one.reason for one in candidate.owner_only]


def test_ordinary_work_may_be_moved(make):
    assert reasons(judged(make, make.process(200))) == ([], [])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"uid": 999}, Reason.SYSTEM_USER),
        ({"uid": 1001}, Reason.OTHER_USER),
        ({"wish": "never"}, Reason.OPTED_OUT),
        ({"state": "T"}, Reason.STOPPED),
        ({"state": "t"}, Reason.STOPPED),
        ({"tracer_pid": 77}, Reason.TRACED),
        ({"set_id": True}, Reason.SET_ID),
        ({"environ_readable": False}, Reason.UNREADABLE),
        ({"exe": None}, Reason.UNREADABLE),
        ({"argv_rewritten": True}, Reason.ARGV_REWRITTEN),
        ({"remote_tcp": True}, Reason.REMOTE_CONNECTION),
        ({"kernel": True, "argv": (), "exe": None}, Reason.KERNEL_THREAD),
        ({"cgroup": "/docker/" + 64 * "a"}, Reason.CONTAINER),
        ({"cgroup": "/system.slice/docker-" + 64 * "a" + ".scope"}, Reason.CONTAINER),
        ({"cgroup": "/kubepods.slice/kubepods-burstable.slice/x.scope"}, Reason.CONTAINER),
        ({"cgroup": "/machine.slice/libpod-" + 64 * "b" + ".scope/container"}, Reason.CONTAINER),
        ({"cgroup": "/lxc.payload.web/init.scope"}, Reason.CONTAINER),
        ({"edges": frozenset({"outside:unix:[9]"})}, Reason.OPEN_EDGE),
        ({"argv": (b"python3", b"fluent.py")}, Reason.LICENCE),
        ({"licence_variables": frozenset({"NAME", "MLM_LICENSE_FILE"})}, Reason.LICENCE),
        ({"credentials": ("Kerberos tickets",)}, Reason.CREDENTIALS),
        ({"argv": (b"./site-tool",)}, Reason.PROTECTED),
        ({"user": "service"}, Reason.PROTECTED),
        ({"argv": (b"rsync", b"x", b"y")}, Reason.FILE_TRANSFER),
        ({"argv": (b"snakemake",)}, Reason.WORKFLOW_DRIVER),
        ({"argv": (b"salloc",)}, Reason.SCHEDULER_CLIENT),
        ({"argv": (b"mongod",)}, Reason.DAEMON),
        ({"argv": (b"nvim",)}, Reason.INTERACTIVE),
        ({"argv": (b"-bash",), "tty_nr": 34816}, Reason.INTERACTIVE),
    ],
)
def test_what_is_never_moved_says_why_and_what_to_do(make, changes, reason):
    policy = make.policy(
        protected=("site-*",),
        protected_users=("service",),
        licensed=("fluent.py",),
        licence_variables=("*LM_LICENSE_FILE",),
    )
    plain = make.process(200, 1, uid=changes.pop("uid", 1000))
    candidate = judged(make, replace(plain, **changes), policy=policy)
    assert reason in reasons(candidate)[0]
    assert not candidate.movable
    found = next(one for one in candidate.obstacles if one.reason is reason)
    assert found.seen
    assert found.remedy


def test_a_site_may_say_that_credentials_and_licence_variables_bind_nobody(make):
    carries = make.process(200, credentials=("AFS tokens",), licence_variables=frozenset({"LM_LICENSE_FILE"}))
    assert reasons(judged(make, carries, policy=make.policy(credentials_bind=False, licence_variables=()))) == ([], [])


def test_one_protected_member_protects_the_whole_job(make):
    candidate = judged(make, make.process(200), make.process(201, 200, b"ssh", b"other", pgid=200))
    assert reasons(candidate)[0] == [Reason.SCHEDULER_CLIENT]
    assert "ssh (201)" in candidate.obstacles[0].seen


def test_other_users_work_may_be_moved_where_the_cluster_serves_many(make):
    assert reasons(judged(make, make.process(200, uid=1001), policy=make.policy(multi_user=True))) == ([], [])


def test_kept_by_its_owner(make):
    candidate = judged(make, make.process(200), make.process(201, 200, pgid=200), kept={201: 0.0})
    assert reasons(candidate)[0] == [Reason.KEPT]


def test_one_that_is_moving_is_said_to_move_not_to_be_stopped(make):
    candidate = judged(make, make.process(200, state="T"), moving=frozenset({200}))
    assert reasons(candidate)[0] == [Reason.ALREADY_MOVING]


@pytest.mark.parametrize("pid", [150, 200, 201])
def test_relatives_of_our_own_processes_are_protected_by_pid(make, pid):
    """150 stands above, 201 below the controller, whatever they are called."""
    table = (
        make.process(150, 1, b"python3", b"supervisor.py"),
        make.process(200, 150, b"python3", b"anything.py"),
        make.process(201, 200, b"python3", b"child.py"),
    )
    candidate = judged(make, *table, pid=pid, own_pids=frozenset({200}))
    assert Reason.PROTECTED in reasons(candidate)[0]


def test_process_one_is_protected_whatever_it_is_called(make):
    table = {1: make.process(1, 0, b"./myinit")}
    candidate = candidate_for(table, 1, node="head", policy=make.policy())
    assert Reason.PROTECTED in reasons(candidate)[0]


def test_inside_the_controllers_own_container_work_may_be_moved(make):
    cgroup = "/docker/" + 64 * "c"
    own = make.process(50, 1, b"python3", b"x", cgroup=cgroup)
    assert reasons(judged(make, own, make.process(200, cgroup=cgroup), own_pids=frozenset({50}))) == ([], [])


@pytest.mark.parametrize(
    ("cgroup", "supervised"),
    [
        (SERVICE, True),
        (SERVICE + "/worker", True),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/sync.service", True),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-term.scope", False),
        ("/user.slice/user-1000.slice/user@1000.service", False),
        ("/user.slice/user-1000.slice/session-3.scope", False),
        ("/system.slice/ssh.service", False),
        ("/system.slice/sshd@4-10.0.0.1:22-10.0.0.2:5.service", False),
        ("/system.slice/cron.service", False),
        ("/", False),
        ("", False),
    ],
)
def test_a_service_is_supervised_a_session_is_not(make, cgroup, supervised):
    _, owner_only = reasons(judged(make, make.process(200, cgroup=cgroup)))
    assert owner_only == ([Reason.SUPERVISED] if supervised else [])


@pytest.mark.parametrize("above", [b"runsv", b"slurmstepd"])
def test_children_of_supervisors_are_supervised(make, above):
    _, owner_only = reasons(judged(make, make.process(100, 1, above), make.process(200, 100)))
    assert owner_only == [Reason.SUPERVISED]


def test_cron_jobs_need_their_owner(make):
    _, owner_only = reasons(judged(make, make.process(100, 1, b"/usr/sbin/CRON"), make.process(200, 100)))
    assert owner_only == [Reason.CRON]


def test_the_foreground_job_of_a_terminal_is_waited_for_one_in_the_background_is_not(make):
    shell = make.shell(100)
    front = make.process(200, 100, tty_nr=34816, session_terminal_pgid=200)
    assert reasons(judged(make, shell, front))[1] == [Reason.SHELL_WAITING]
    back = replace(front, session_terminal_pgid=100)
    assert reasons(judged(make, shell, back))[1] == []


def test_the_foreground_job_of_run_local_is_waited_for_by_one_who_knows_of_moves(make):
    stub = make.process(100, 1, b"grid-offloader", b"run", b"--local", b"python3", b"train.py", tty_nr=34817)
    front = make.process(200, 100, tty_nr=34817, session_terminal_pgid=200)
    assert reasons(judged(make, stub, front)) == ([], [])


def test_a_script_in_the_foreground_is_waited_for_although_its_child_is_busy(make):
    """`bash train.sh` in a terminal: the script is a part of the job and not protected."""
    script = make.process(200, 100, b"bash", b"train.sh", tty_nr=34816, session_terminal_pgid=200)
    child = make.process(201, 200, tty_nr=34816, pgid=200, session_terminal_pgid=200)
    assert reasons(judged(make, make.shell(100), script, child, pid=201)) == ([], [Reason.SHELL_WAITING])


def test_the_owners_word_lifts_what_needs_the_owner(make):
    job = make.process(200, 100, tty_nr=34816, session_terminal_pgid=200, cgroup=SERVICE, wish="allow")
    assert reasons(judged(make, make.shell(100), job)) == ([], [])


def test_a_listener_needs_its_owner_or_a_rule_even_when_allowed(make):
    assert reasons(judged(make, make.process(200, listening=True, wish="allow"))) == ([], [Reason.LISTENER])


def test_no_obstacle_is_lifted_by_allow(make):
    assert reasons(judged(make, make.process(200, wish="allow", tracer_pid=5)))[0] == [Reason.TRACED]


def test_an_open_edge_names_both_ends(make):
    edges = frozenset({"pipe:[7]"})
    candidate = judged(make, make.process(200, edges=edges), make.process(300, 1, b"./viewer", edges=edges))
    assert [one.reason for one in candidate.obstacles] == [Reason.OPEN_EDGE]
    assert "viewer (300)" in candidate.obstacles[0].seen


def test_no_seen_text_shows_arguments(make):
    """Reasons go to metrics and events that others may read: argv stays out of them."""
    secret = make.process(200, 1, b"rsync", b"--password=hunter2", tracer_pid=3, listening=True, set_id=True)
    candidate = judged(make, secret)
    assert "hunter2" not in repr((candidate.obstacles, candidate.owner_only))


def test_every_reason_of_selection_placement_and_guard_has_a_remedy():
    reasons_with = set(REMEDIES)
    assert {reason for reason in Reason if reason not in reasons_with} == {
        Reason.NO_EXECUTABLE,
        Reason.NO_DIRECTORY,
        Reason.NO_FILE,
        Reason.IDENTITY_MISMATCH,
        Reason.TERMINAL,
        Reason.UNSUPPORTED_FD,
        Reason.TOO_LARGE,
        Reason.NO_ROOM,
        Reason.SUBMIT_FAILED,
        Reason.HOLD_TIMEOUT,
        Reason.FREEZE_FAILED,
        Reason.NOT_SAVED,
        Reason.NOT_STAGED,
        Reason.DUMP_FAILED,
        Reason.ORIGINAL_GONE,
        Reason.LAUNCH_FAILED,
        Reason.NOT_PROVEN,
        Reason.LINK_LOST,
        Reason.WATCHDOG_LOST,
        Reason.CANCELLED,
        Reason.DISABLED,
        Reason.CONTROLLER_RESTARTED,
        Reason.JOURNAL_FAILED,
        Reason.TIMEOUT,
    }, "preflight and hand-off have their own"
