"""Whether a process could be moved, told from itself."""

import stat
from dataclasses import replace

import pytest

from exporter.movability import Policy, hindrance_of, path_of
from exporter.procfs.pid import CgroupMembership
from exporter.procfs.process import Procfs
from exporter.programs import Hindrance

POLICY = Policy(min_uid=1000)


@pytest.fixture
def job(proc):
    """4242 of the fixture, away from its terminal: a training run of alice."""
    facts = Procfs(proc).facts(4242)
    assert facts is not None
    return replace(facts, tty_nr=0, tpgid=-1)


def _in(cgroup):
    return (CgroupMembership(0, (), cgroup),)


def test_work_of_a_user_could_be_moved(job):
    assert hindrance_of(job, None, POLICY) is None


@pytest.mark.parametrize(
    ("changes", "hindrance"),
    [
        ({"pid": 1}, Hindrance.PROTECTED),
        ({"argv": (b"/usr/sbin/sshd", b"-D")}, Hindrance.PROTECTED),
        ({"argv": (b"-bash",)}, Hindrance.INTERACTIVE),
        ({"argv": (b"vim", b"x.py")}, Hindrance.INTERACTIVE),
        ({"argv": (b"postgres",)}, Hindrance.DAEMON),
        ({"argv": (b"srun", b"a.out")}, Hindrance.SCHEDULER_CLIENT),
        ({"argv": (b"snakemake",)}, Hindrance.WORKFLOW_DRIVER),
        ({"argv": (b"rsync", b"a", b"b:")}, Hindrance.FILE_TRANSFER),
        ({"cgroups": _in("/system.slice/docker-3fa9.scope")}, Hindrance.CONTAINER),
        ({"exe_mode": stat.S_IFREG | stat.S_ISUID | 0o755}, Hindrance.SET_ID),
        ({"uid": 33}, Hindrance.SYSTEM_USER),
        ({"state": "T"}, Hindrance.STOPPED),
        ({"tracer_pid": 77}, Hindrance.TRACED),
        ({"cgroups": _in("/system.slice/solver.service")}, Hindrance.SUPERVISED),
        ({"tty_nr": 34816, "pgid": 4242, "tpgid": 4242}, Hindrance.SHELL_WAITING),
    ],
)
def test_each_hindrance_has_its_word(job, changes, hindrance):
    assert hindrance_of(replace(job, **changes), None, POLICY) is hindrance


def test_its_owner_has_a_say(job):
    """`never` forbids; `allow` lifts what is left to the owner, and nothing else."""
    assert hindrance_of(job, "never", POLICY) is Hindrance.OPTED_OUT
    supervised = replace(job, cgroups=_in("/system.slice/solver.service"))
    assert hindrance_of(supervised, "allow", POLICY) is None
    assert hindrance_of(replace(job, state="T"), "allow", POLICY) is Hindrance.STOPPED


def test_inside_the_exporters_own_container_is_at_home(job):
    """In a container that is the node, its processes are the node's."""
    inside = replace(job, cgroups=_in("/docker/3fa9"))
    assert hindrance_of(inside, None, replace(POLICY, home="docker/3fa9")) is None
    assert hindrance_of(inside, None, POLICY) is Hindrance.CONTAINER


def test_the_path_that_says_most():
    """v2's before systemd's before any other; of roots alone it is the root."""
    systemd = CgroupMembership(1, ("name=systemd",), "/user.slice")
    memory = CgroupMembership(4, ("memory",), "/m")
    assert path_of((memory, systemd)) == "/user.slice"
    assert path_of((memory, systemd, CgroupMembership(0, (), "/v2"))) == "/v2"
    assert path_of((CgroupMembership(0, (), "/"), memory)) == "/m"
    assert path_of((CgroupMembership(0, (), "/"),)) == "/"
    assert path_of(()) == ""
