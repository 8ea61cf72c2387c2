"""The controller as a real process against a Prometheus that says what the test wants. It records and moves nothing."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
PROMTOOL = PROJECT / ".cache/debian/usr/bin/promtool"


def http(daemon, path, method="GET"):
    port = daemon.json("config", "show")["controller"]["listen"].rpartition(":")[2]
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def limits(document):
    return {rule["resource"]: rule["threshold"] for rule in document["rules"]}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--threshold", "cpu=75", "--threshold", "memory=65"], {"cpu": 0.75, "memory": 0.65, "gpu": 0.9}),
        (["--threshold", "cpu=81", "memory=62%", "gpu=95"], {"cpu": 0.81, "memory": 0.62, "gpu": 0.95}),
        (["--threshold", "66"], {"cpu": 0.8, "memory": 0.66, "gpu": 0.9}),
    ],
)
def test_every_spelling_of_thresholds_is_in_force_with_the_answer(daemon, words, expected) -> None:
    daemon.start()
    document = daemon.json("auto", "--enable", *words)
    assert document["ceiling"] == "auto"
    assert document["thresholds"] == expected
    assert limits(document) == expected
    assert limits(daemon.status()) == expected


def test_a_threshold_that_is_lowered_fires_at_the_next_tick(daemon, prometheus) -> None:
    prometheus.pressure["head1"]["cpu"] = 0.5
    daemon.start()
    assert {rule["state"] for rule in daemon.json("auto", "--status")["rules"]} == {"inactive"}
    document = daemon.json("auto", "--enable", "--threshold", "cpu=40")
    assert {rule["resource"]: rule["state"] for rule in document["rules"]}["cpu"] == "firing"


def test_a_threshold_can_be_given_back_to_the_rule(daemon) -> None:
    daemon.start()
    daemon.json("auto", "--enable", "--threshold", "cpu=40")
    assert daemon.json("auto", "--enable", "--threshold", "cpu=default")["thresholds"]["cpu"] == 0.8


def test_a_threshold_that_a_rule_states_itself_is_not_overridden_in_silence(daemon, cluster_file: Path) -> None:
    rules = cluster_file.parent / "rules.yml"
    rules.write_text(rules.read_text().replace("resource: cpu\n", "resource: cpu\n        threshold: 77%\n"))
    daemon.start()
    done = daemon.run("auto", "--enable", "--threshold", "cpu=50")
    assert done.returncode == 0
    assert "test/cpu" in done.stderr
    assert limits(daemon.status())["cpu"] == 0.77


def test_everything_survives_a_kill(daemon, prometheus, eager_file, load) -> None:
    """Ceiling, thresholds, rule states and the last decision are the same after SIGKILL and a restart."""
    prometheus.pressure["head1"]["cpu"] = 0.97
    daemon.start()
    daemon.json("auto", "--enable", "--mode", "advise", "--threshold", "cpu=75", "memory=66")
    daemon.until(lambda: (daemon.status()["last_decision"] or {}).get("reason") == "CEILING")
    before = daemon.json("auto", "--status")
    daemon.kill()
    stored = daemon.json("auto", "--status")
    assert stored["running"] is False
    daemon.start()
    daemon.until(lambda: daemon.status()["rules"][0]["state"] == "firing")
    after = daemon.json("auto", "--status")
    for key in ("ceiling", "enabled", "thresholds", "last_decision", "moves_in_flight"):
        assert after[key] == before[key], key
        assert stored[key] == before[key], key
    states = [{rule["key"]: rule["state"] for rule in document["rules"]} for document in (before, stored, after)]
    assert states[0] == states[1] == states[2]


def test_without_a_controller_enable_refuses_and_disable_stops_the_next_one(daemon, state_dir: Path) -> None:
    assert daemon.run("auto", "--enable").returncode == 3
    done = daemon.run("auto", "--disable")
    assert done.returncode == 0, done.stderr
    assert (state_dir / "disabled").exists()
    daemon.start()
    document = daemon.status()
    assert document["kill_switch"] is True
    assert document["enabled"] is False
    assert document["next"]["reason"] in ("RULE_FALSE", "KILL_SWITCH")
    assert any(problem["command"] == "grid-offloader auto --enable" for problem in document["problems"])
    assert daemon.json("auto", "--enable")["kill_switch"] is False
    assert not (state_dir / "disabled").exists()


def test_a_kill_switch_put_there_by_hand_is_not_taken_away(daemon, state_dir: Path) -> None:
    daemon.start()
    (state_dir / "disabled").write_text("maintenance until Monday\n")
    done = daemon.run("auto", "--enable")
    assert done.returncode == 4
    assert "KILL_SWITCH" in done.stderr
    assert f"rm {state_dir / 'disabled'}" in done.stderr
    assert daemon.json("auto", "--status")["kill_switch"] is True


def test_a_bad_reload_keeps_the_configuration_and_says_so(daemon, cluster_file: Path) -> None:
    daemon.start()
    rules = cluster_file.parent / "rules.yml"
    good = rules.read_text()
    rules.write_text(good.replace("resource: cpu\n", "resource: cpu\n        threshold: 800%\n"))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: any("reload was refused" in one["text"] for one in daemon.status()["problems"]))
    assert limits(daemon.status())["cpu"] == 0.8
    assert "grid_offloader_config_last_reload_successful 0.0" in http(daemon, "/metrics")[1]
    rules.write_text(good.replace("resource: cpu\n", "resource: cpu\n        threshold: 77%\n"))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: limits(daemon.status())["cpu"] == 0.77)
    assert not any("reload" in one["text"] for one in daemon.status()["problems"])


def test_a_reload_that_needs_a_restart_says_so(daemon, cluster_file: Path) -> None:
    daemon.start()
    cluster_file.write_text(cluster_file.read_text().replace("timeout: 2s", "timeout: 3s"))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: any("needs a restart" in one["text"] for one in daemon.status()["problems"]))


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ({"broken": "<html>gateway</html>"}, "QUERY_FAILED"),
        ({"age_s": 100.0}, "STALE"),
        ({"up": {"head1": 0.0, "gpu1": 1.0}}, "DOWN"),
    ],
)
def test_nothing_is_decided_on_data_that_cannot_be_trusted(daemon, prometheus, trouble, reason) -> None:
    prometheus.pressure["head1"]["cpu"] = 0.99
    for name, value in trouble.items():
        setattr(prometheus, name, value)
    daemon.start()
    document = daemon.json("auto", "--enable")
    assert {rule["truth"] for rule in daemon.status()["rules"]} == {"unknown"}
    assert {rule["reason"] for rule in document["rules"]} == {reason}
    problems = daemon.status()["problems"]
    assert any(problem["reason"] == reason and problem["command"] for problem in problems)


def test_prometheus_coming_back_is_enough(daemon, prometheus) -> None:
    prometheus.broken = "down"
    daemon.start()
    prometheus.broken = None
    daemon.until(lambda: {rule["truth"] for rule in daemon.status()["rules"]} == {"false"})


def test_the_load_is_chosen_with_its_reasons_and_the_recorder_gets_it(daemon, prometheus, eager_file, load) -> None:
    prometheus.pressure["head1"]["cpu"] = 0.97
    daemon.start()
    daemon.until(lambda: (daemon.status()["last_decision"] or {}).get("reason") == "CEILING")  # old enough to pay
    would = daemon.status()["last_decision"]
    assert (would["kind"], would["pid"], would["target"]) == ("would_move", load.pid, "gpu1")
    assert would["strategy"] == "restart"
    document = daemon.json("auto", "--enable")
    assert document["last_decision"]["kind"] == "move"
    assert document["last_decision"]["pid"] == load.pid
    assert document["moves_in_flight"] == []
    assert load.poll() is None
    assert "moving burn_for_test.py" in daemon.log.read_text()


def test_scan_lists_the_load_as_an_array_and_protects_what_runs_the_machine(daemon, eager_file, load) -> None:
    daemon.start()
    movable = daemon.json("scan")
    [mine] = [process for process in movable if process["pid"] == load.pid]
    assert mine["name"] == "burn_for_test.py"
    assert mine["target"] == "gpu1"
    assert {"class", "requirements", "confidence", "complexity", "reason"} <= set(mine)
    assert load.pid in {process["pid"] for process in daemon.json("scan", "--all")}
    assert os.getpid() not in {process["pid"] for process in movable}
    assert daemon.process.pid not in {process["pid"] for process in movable}


def test_scan_works_without_a_controller(daemon, eager_file, load) -> None:
    [mine] = [process for process in daemon.json("scan") if process["pid"] == load.pid]
    assert mine["target"] == "gpu1"


def test_a_dry_run_shows_the_plan_with_what_is_in_its_way_and_touches_nothing(daemon, eager_file, load) -> None:
    """No SSH server answers at the worker's address: that is one obstacle, and the exit code says so."""
    daemon.start()
    done = daemon.run("move", str(load.pid), "--target-node", "gpu1", "--dry-run", "--format", "json")
    [plan] = json.loads(done.stdout)
    assert (plan["target"], plan["strategy"], plan["dry_run"]) == ("gpu1", "restart", True)
    assert plan["loses_s"] > 0
    assert plan["target_why"] == "you chose it"
    assert [one["pid"] for one in plan["members"]] == [load.pid]
    assert "PATH" in plan["environment"]["travels"]
    assert [one["reason"] for one in plan["obstacles"]] == ["TARGET_DOWN"]
    assert (done.returncode, "[TARGET_DOWN]" in done.stderr) == (4, True)
    assert load.poll() is None
    assert daemon.status()["moves_in_flight"] == []


def test_moves_that_must_not_be_are_refused_with_reason_and_exit_code(daemon, eager_file, load) -> None:
    daemon.start()
    cases = [
        ([str(load.pid), "-t", "head1"], 4, "TARGET_IS_HEAD"),
        ([str(load.pid), "-t", "nowhere"], 4, "TARGET_UNKNOWN"),
        (["4194303"], 4, "NO_SUCH_PROCESS"),
        (["2"], 4, "KERNEL_THREAD"),
        ([str(daemon.process.pid)], 4, "PROTECTED"),
        (["0"], 2, ""),
    ]
    for words, code, reason in cases:
        done = daemon.run("move", *words)
        assert (done.returncode, reason in done.stderr) == (code, True), (words, done.stderr)
        assert done.stdout == ""


def test_the_kill_switch_stops_moves_by_hand_too(daemon, eager_file, load, state_dir: Path) -> None:
    daemon.start()
    (state_dir / "disabled").touch()
    done = daemon.run("move", str(load.pid), "--dry-run")
    assert (done.returncode, "KILL_SWITCH" in done.stderr) == (4, True)


@pytest.mark.root
def test_an_ordinary_user_sees_but_may_not_touch_what_is_not_his(daemon, eager_file, load) -> None:
    """He gets neither command lines nor reasons of others, may not toggle, move or cancel."""
    daemon.start()
    for folder in [daemon.socket.parent, *daemon.socket.parents]:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o711)

    def ask(method, target, body=""):
        lines = f"{method} {target} HTTP/1.0\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        program = (
            "import os,socket,sys; os.setgroups([]); os.setgid(4321); os.setuid(4321); s=socket.socket(socket.AF_UNIX);"
            "s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode()); print(s.makefile().read())"
        )
        argv = [sys.executable, "-c", program, str(daemon.socket), lines]
        answer = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
        head, _, document = answer.partition("\n\n")
        return int(head.split()[1]), json.loads(document)

    assert ask("GET", "/v1/status")[0] == 200
    status, processes = ask("GET", "/v1/scan?all=1")
    [load_seen] = [process for process in processes if process["pid"] == load.pid]
    assert status == 200
    assert "argv" not in load_seen
    assert "cwd" not in load_seen
    assert all(not process["obstacles"] and process["reason"] is None for process in processes)
    for method, target, body in (
        ("POST", "/v1/auto", '{"enabled": true}'),
        ("POST", "/v1/moves", json.dumps({"pid": load.pid})),
        ("POST", "/v1/reload", "{}"),
    ):
        status, document = ask(method, target, body)
        assert (status, document["error"]["code"]) == (403, "not_permitted")
    assert daemon.json("auto", "--status")["ceiling"] == "observe"


def test_metrics_health_and_readiness(daemon) -> None:
    daemon.start()
    assert http(daemon, "/-/healthy") == (200, "healthy\n")
    assert http(daemon, "/-/ready") == (200, "ready\n")
    text = http(daemon, "/metrics")[1]
    for line in (
        'grid_offloader_threshold_ratio{resource="cpu",rule="test/cpu"} 0.8',
        'grid_offloader_rule_state{node="head1",rule="test/cpu",state="inactive"} 1.0',
        'grid_offloader_ceiling{mode="observe"} 1.0',
        'grid_sharing_threshold{kind="max_used",resource="cpu"} 0.3',
        'grid_offloader_sample_age_seconds{node="gpu1"}',
        "grid_offloader_tick_seconds_bucket",
        "grid_offloader_ticks_missed_total",
    ):
        assert line in text, line
    assert "burn" not in text


@pytest.mark.promtool
def test_promtool_finds_nothing_to_say_about_our_metrics(daemon) -> None:
    daemon.start()
    text = http(daemon, "/metrics")[1]
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_actions_over_tcp_are_closed_without_a_token(daemon) -> None:
    daemon.start()
    status, body = http(daemon, "/-/reload", "POST")
    assert (status, json.loads(body)["error"]["code"]) == (403, "not_permitted")
    assert http(daemon, "/v1/status")[0] == 403


def test_term_ends_it_cleanly_and_an_interrupt_too(daemon) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        daemon.start()
        assert daemon.kill(number) == 0
        assert not daemon.socket.exists()
        assert "Traceback" not in daemon.log.read_text()


def test_a_second_controller_with_the_same_state_is_refused(daemon) -> None:
    daemon.start()
    done = daemon.run("serve")
    assert done.returncode == 8
    assert str(daemon.process.pid) in done.stderr


def test_a_state_directory_that_forgets_is_refused(daemon, cluster_file: Path, state_dir: Path) -> None:
    cluster_file.write_text(cluster_file.read_text().replace(str(state_dir), "/tmp/grid-offloader-state"))
    done = daemon.run("serve")
    assert done.returncode == 8
    assert "state_dir" in done.stderr


def test_a_journal_of_a_newer_version_is_refused_and_stays_as_it_is(daemon, state_dir: Path) -> None:
    daemon.start()
    daemon.kill(signal.SIGTERM)
    journal = state_dir / "journal.db"
    with closing(sqlite3.connect(journal)) as database:
        database.execute("PRAGMA user_version = 99")
    before = journal.read_bytes()
    for words, code in ((("serve",), 8), (("auto", "--status"), 3)):
        done = daemon.run(*words)
        assert done.returncode == code, done.stderr
        assert f"{journal}" in done.stderr
        assert "journal version 99" in done.stderr
        assert "start the newer" in done.stderr
        assert "Traceback" not in done.stderr
    assert journal.read_bytes() == before


def test_systemd_is_told_when_it_is_ready(daemon, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        daemon.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        daemon.start()
        assert manager.recv(100) == b"READY=1"
        daemon.kill(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"


def test_events_tell_what_changed_and_nothing_twice(daemon, prometheus) -> None:
    daemon.start()
    prometheus.pressure["head1"]["memory"] = 0.95
    daemon.until(lambda: "inactive -> firing" in daemon.log.read_text())
    ticks = daemon.status()["data"]["ticks"]
    daemon.until(lambda: daemon.status()["data"]["ticks"] > ticks + 5)
    assert daemon.log.read_text().count("test/memory on head1: inactive -> firing") == 1


def test_a_pipe_that_closes_early_is_no_traceback(daemon) -> None:
    daemon.start()
    command = f"{sys.executable} -m offloader.cli status --format json | head -c 1"
    done = subprocess.run(["bash", "-c", command], env=daemon.environment, capture_output=True, text=True, check=False)
    assert done.stdout == "{"
    assert done.stderr == ""


def test_a_move_to_a_worker_that_cannot_be_reached_leaves_the_work_where_it_is(daemon, acting_file, load) -> None:
    daemon.start("--log-level", "info")
    done = daemon.run("move", str(load.pid), "-t", "gpu1", "--format", "json")
    assert done.returncode == 7, done.stderr
    [move] = json.loads(done.stdout)
    assert move["state"] == "rolled_back"
    assert load.poll() is None
    assert [step["event"] for step in move["timeline"]][-1] == "rolled_back"
    assert "rolled back" in daemon.run("status").stdout
    metrics = http(daemon, "/metrics")[1]
    assert 'outcome="rolled_back"' in metrics
    assert "not-a-real-token" not in metrics + daemon.log.read_text() + done.stderr
    assert daemon.kill(signal.SIGTERM) == 0


def test_without_a_way_to_run_work_the_controller_says_that_it_only_records(daemon, eager_file, load) -> None:
    daemon.start("--log-level", "info")
    assert any("ray.token_file" in problem["text"] for problem in daemon.status()["problems"])
    done = daemon.run("move", str(load.pid), "--detach")
    assert done.returncode == 4
    assert "ray.token_file" in done.stderr
    assert load.poll() is None
