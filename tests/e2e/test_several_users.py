"""Two ordinary users on one cluster: the controller is root's, Ray an account's of its own, each moves only his own."""

import json
from pathlib import Path

import pytest
from managed import COMMAND, HEAD, Managed

pytestmark = [
    *(pytest.mark.testbed, pytest.mark.ray, pytest.mark.promtool, pytest.mark.sudo, pytest.mark.timeout(600)),
]

RAY = "raysvc"
UNKNOWN = "01ARZ3NDEKTSV4RRFFQ69G5FAV.1"
PROGRAM = Path(__file__).with_name("trespasser.py")
SECRET = "--known-to-bob-alone"
NOT_PERMITTED = 5


@pytest.fixture
def shared(testbed):
    """The test bed's nodes as a cluster of several users, each node with sudo's rules to itself."""
    testbed.run("ray", "down")
    testbed.run("monitoring", "down")
    made = Managed(testbed, user="root", multi_user=True)
    made.empty()
    made.write(app=made.own_environment, ray=made.own_environment, ray_user=RAY)
    for node in made.settings.nodes:
        rules = f"{made.private}/sudoers.d"
        testbed.exec(node.name, ["sh", "-c", f"mkdir -p {rules} && mount --bind {rules} /etc/sudoers.d"])
    made.install_templates()
    made.limit(None)
    made.json("up")
    testbed.wait_for(lambda: all(one["offer"] for one in made.json("status")["workers"]), 60, "offers")
    yield made
    made.end()
    made.limit(made.settings.cpu)
    for node in made.settings.nodes:
        testbed.exec(node.name, ["umount", "/etc/sudoers.d"])


def load(bed, name, user, *arguments):
    allowed = {"GRID_OFFLOAD": "allow"}
    return bed.start_load(HEAD, name, user=user, cpu=0.1, duration=900, environment=allowed, arguments=arguments)


def move(shared, user, pid, node):
    done = shared.run("move", str(pid), "--target-node", node, "--format", "json", user=user)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    return document[0] if isinstance(document, list) else document


def refused(shared, node, user, *words, text=None):
    done = shared.bed.exec(node, list(words), user=user, check=False, text=text)
    assert done.returncode != 0, f"{user} may {words}: {done.stdout}"
    return done.stdout + done.stderr


def attempts(shared, node):
    return shared.bed.exec(node, ["sh", "-c", f"ls -d {shared.private}/node/attempts/*"]).stdout.split()


def test_each_sees_and_moves_his_own_alone(shared):
    bed = shared.bed
    alices, bobs = load(bed, "alices", "alice"), load(bed, "bobs", "bob", SECRET)

    def nothing_of_bobs(*words):
        done = shared.run(*words, user="alice")
        assert SECRET not in done.stdout + done.stderr, words
        return done

    bed.wait_for(lambda: SECRET in shared.run("scan", "--format", "json", user="bob").stdout, 30, "bob to see his own")
    nothing_of_bobs("scan", "--format", "json")
    nothing_of_bobs("why", str(bobs.pid))
    said = nothing_of_bobs("move", str(bobs.pid))
    assert said.returncode != 0
    assert "NOT_YOURS" in said.stdout + said.stderr or "bob" in said.stderr
    assert bed.running("bobs") == [HEAD]

    moves = {"alice": move(shared, "alice", alices.pid, "gpu1"), "bob": move(shared, "bob", bobs.pid, "gpu2")}
    assert (bed.running("alices"), bed.running("bobs")) == (["gpu1"], ["gpu2"])
    his = moves["bob"]["id"]
    for verb in ("cancel", "logs", "bring"):
        assert nothing_of_bobs(verb, his).returncode == NOT_PERMITTED, verb
    for words in (("status", his), ("status",), ("status", "--mine"), ("why", his)):
        nothing_of_bobs(*words, "--format", "json")
    mine = shared.run("status", "--mine", "--format", "json", user="alice").stdout
    assert (his in mine, moves["alice"]["id"] in mine) == (False, True)
    assert shared.run("logs", his, user="bob").returncode == 0

    # A command given to it runs as whoever gave it.
    ran = shared.run("run", "--", "/usr/bin/id", "-un", user="bob")
    assert (ran.returncode, ran.stdout.strip()) == (0, "bob"), ran.stderr

    # What the controller keeps on the head, and the controller itself.
    bed_exec = [
        *(("cat", f"{shared.private}/state/journal.db"), ("ls", f"{shared.private}/state/capsules")),
        *(("cat", f"{shared.private}/state/ray.token"), ("cat", f"{shared.private}/state/webhook.token")),
    ]
    for words in bed_exec:
        assert "denied" in refused(shared, HEAD, "alice", *words)
    serving = bed.exec(HEAD, ["pgrep", "-f", f"{COMMAND} serve"]).stdout.split()
    assert "denied" in refused(shared, HEAD, "alice", "cat", f"/proc/{serving[0]}/environ")
    assert bed.running("bobs") == ["gpu2"]

    for user, name in (("alice", "alices"), ("bob", "bobs")):
        assert shared.run("cancel", moves[user]["id"], user=user).returncode == 0
        bed.wait_for(lambda name=name: not bed.running(name), 30, f"{name}'s end")
    shared.cli("cluster", "uninstall", "--yes")
    assert shared.ours() == []
    assert [path for path in shared.left() if not path.endswith("/sudoers.d")] == []


@pytest.fixture
def trespass(shared):
    """What a process of alice's tried where it was moved to, beside one of bob's; and bob's attempt there."""
    bed, own = shared.bed, shared.private / "node"
    his = move(shared, "bob", load(bed, "bobs", "bob", SECRET).pid, "gpu1")
    (attempt,) = attempts(shared, "gpu1")
    (sessions,) = bed.exec("gpu1", ["sh", "-c", "ls -d /run/grid-ray-*"]).stdout.split()
    sockets = bed.exec("gpu1", ["sh", "-c", f"ls {sessions}/ray/session_latest/sockets/*"]).stdout.split()
    plan = {
        "read": [
            *(f"{own}-ray/token", f"{own}/installed.json", f"{own}/services/ray/log"),
            *(f"{attempt}/{name}" for name in ("capsule.claimed", "output.log", "state.json", "sock")),
            *(f"{sessions}/ray/session_latest/logs/raylet.out", "/etc/sudoers.d/grid-offloader"),
        ],
        "list": [f"{own}-ray", sessions, f"{sessions}/ray", f"{own}/attempts", attempt],
        "write": [f"{own}-open", f"{own}-env", "/etc/sudoers.d", "/run"],
        "connect": [*sockets, f"{attempt}/sock"],
        "opener": f"{own}-open/open",
        "task": f"{UNKNOWN}\n",
        "http": [
            f"http://{bed.ip(HEAD)}:8265/api/jobs/",
            *(f"http://{address}:{port}/get_or_create_runtime_env" for address, port, kind in listening(bed) if kind),
        ],
        "grpc": [f"{address}:{port}" for address, port, kind in listening(bed) if not kind],
    }
    (bed.shared / "plan.json").write_text(json.dumps(plan))
    found = bed.shared / "trespasser.json"
    argv = (f"{shared.own_environment}/bin/python", "-I", str(PROGRAM), "trespasser", str(bed.shared))
    process = bed.start_program(HEAD, "trespasser", argv, environment={"GRID_OFFLOAD": "allow"})
    mine = move(shared, "alice", process.pid, "gpu1")
    bed.wait_for(found.exists, 120, "what it tried")
    yield json.loads(found.read_text()), plan, attempt
    for user, one in (("alice", mine), ("bob", his)):
        shared.run("cancel", one["id"], user=user)
    bed.wait_for(lambda: not bed.running("bobs"), 30, "the end of bob's")
    found.unlink()


def listening(bed):
    """Where Ray listens on nodes: address, port, and whether it speaks HTTP/1 there."""
    for node in (HEAD, "gpu1"):
        for line in bed.exec(node, ["ss", "-Hltnp"]).stdout.splitlines():
            address, owner = line.split()[3], line.split()[5]
            if not any(name in owner for name in ("raylet", "gcs_server", "ray::", '"python"')):
                continue
            host, _, port = address.rpartition(":")
            if host.strip("[]") in {"*", bed.ip(node), f"::ffff:{bed.ip(node)}"}:
                speaks = bed.exec(HEAD, ["curl", "-s", "-m5", f"http://{bed.ip(node)}:{port}/"], check=False)
                yield bed.ip(node), int(port), speaks.returncode == 0


def test_a_moved_process_is_its_owners_and_gets_at_nothing_of_rays_or_of_the_others(shared, trespass):
    tried, plan, attempt = trespass

    # It is alice's alone, with nothing of Ray's, root's or sudo's about it.
    status = dict(line.split(":\t", 1) for line in tried["status"].splitlines() if ":\t" in line)
    assert status["Uid"] == status["Gid"] == "1001\t1001\t1001\t1001"
    assert (status["Groups"].split(), status["NoNewPrivs"]) == (["1001"], "1")
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
    assert not [entry for entry in tried["environ"].split("\0") if entry.startswith(("RAY_", "SUDO_"))]
    assert set(tried["descriptors"]) == {"0", "1", "2"}
    assert not [path for path in tried["descriptors"].values() if "socket:" in path or "ray" in path]
    assert tried["environments"] == []

    # Its launcher, which is root's, the token, Ray's directories and sockets, what is bob's.
    for kind in ("read", "list", "write", "connect"):
        assert [what for what, how in tried[kind].items() if how is None] == [], kind
    assert all("PermissionError" in how for how in tried["read"].values()), tried["read"]
    launcher = tried["launcher"]
    for how in (*launcher.pop("files").values(), *launcher.values()):
        assert "PermissionError" in str(how), tried["launcher"]
    assert tried["sudo"] is not None

    # No question without the token is answered, on any of Ray's ports; nor with a wrong one.
    answered = [tuple(answers) for answers in tried["http"].values() if answers != [0, 0]]
    assert set(answered) == {(401, 403)}, tried["http"]
    calls = {method: said for answers in tried["grpc"].values() for method, said in answers.items()}
    assert set(calls.values()) == {"UNAUTHENTICATED"}, tried["grpc"]
    asked = {method.partition("/")[0] for method in calls}
    assert {"JobInfoGcsService", "NodeManagerService", "CoreWorkerService", "RayletDriver"} <= asked

    # Ray's account may open what the controller placed, once, and nothing else.
    opener, task = plan["opener"], attempt.rpartition("/")[2]
    for text, why in ((f"{UNKNOWN}\n", "NOT_PLACED"), (f"{task}\n", "NOT_PLACED"), ("/etc\n", "USAGE"), ("", "USAGE")):
        assert why in refused(shared, "gpu1", RAY, "sudo", "-n", opener, text=text)
    for words in (
        (opener, task),
        (opener, ""),
        ("-u", "bob", opener),
        ("-g", "bob", opener),
        ("-E", opener),
        ("PYTHONPATH=/tmp", opener),
        ("/bin/sh",),
        ("-u", "bob", "/bin/true"),
        ("/usr/bin/python3", "-c", ""),
    ):
        said = refused(shared, "gpu1", RAY, "sudo", "-n", *words, text=f"{UNKNOWN}\n")
        assert "password" in said or "not allowed" in said, words
    listed = shared.bed.exec("gpu1", ["sudo", "-n", "-l"], user=RAY).stdout.partition("may run the following")[2]
    assert [line.strip() for line in listed.splitlines()[1:]] == [f'(root) NOPASSWD: {opener} ""']
    assert "password" in refused(shared, "gpu1", "alice", "sudo", "-n", opener, text=f"{UNKNOWN}\n")

    # Forged: in root's directory, but somebody else's.
    forged = f"{shared.private}/node/attempts/{UNKNOWN}"
    shared.bed.exec("gpu1", ["install", "-d", "-m", "700", "-o", "alice", forged])
    assert "FORGED" in refused(shared, "gpu1", RAY, "sudo", "-n", opener, text=f"{UNKNOWN}\n")
    shared.bed.exec("gpu1", ["rmdir", forged])
    assert "denied" in refused(shared, "gpu1", RAY, "mkdir", forged)
