import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.classify import DEFAULT_PATTERNS, Command, Pattern, ProcessClass, classify, command_of


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("python3 train.py --epochs 9", "training"),
        ("/opt/venv/bin/python3.11 -u /home/a/trainModel.py", "training"),
        ("torchrun --nproc-per-node 4 main.py", "training"),
        ("nohup nice -n 10 python3 -um torch.distributed.run main.py", "training"),
        ("env -u X OMP_NUM_THREADS=4 python -X dev finetune-llama2.py", "training"),
        ("conda run -n ml python infer.py", "inference"),
        ("python -m vllm.entrypoints.openai.api_server", "inference"),
        ("python etl/preprocess_images.py", "data_processing"),
        ("time -p ./simulate_flow", "compute"),
        ("stress-ng --cpu 1", "compute"),
        ("rsync -a a b", "io"),
        ("tar cf x.tar dir", "io"),
        ("bash ./nightly.sh", "batch"),
        ("bash /home/a/x.sh", "batch"),
        ("make -j8", "batch"),
        ("-bash", "interactive"),
        ("python3", "interactive"),
        ("vim train.py", "interactive"),
        ("jupyter-lab --no-browser", "interactive"),
        ("/usr/sbin/sshd -D", "daemon"),
        ("python -m exporter", "daemon"),
        ("raylet", "daemon"),
        ("python3 web_server.py", "daemon"),
        ("sleep 100", "unknown"),
        ("python3 -c pass", "unknown"),
        ("bash -c train.py", "unknown"),
    ],
)
def test_classes_of_real_command_lines(line, kind):
    """Program, script and module names decide, whatever wraps them."""
    assert classify(line.split()).value == kind


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("python3 initialize_db.py", ProcessClass.DAEMON),  # holds "init"
        ("python3 start_job.py", ProcessClass.IO),  # holds "tar"
        ("python3 init.py", ProcessClass.DAEMON),  # a script, not the program
        ("python3 run.py --mode train", ProcessClass.TRAINING),  # an argument
        ("python3 /home/trainer/x.py", ProcessClass.TRAINING),  # a folder
        ("./constrained", ProcessClass.TRAINING),
        ("python3 top.py", ProcessClass.INTERACTIVE),
    ],
)
def test_never_by_substring_argument_or_folder(line, wrong):
    """What an earlier system of this kind got wrong."""
    assert classify(line.split()) is not wrong


def test_rewritten_titles():
    """Daemons write over their argv."""
    assert classify([b"sshd: alice@pts/1"]) is ProcessClass.DAEMON
    assert classify([b"postgres: walwriter "]) is ProcessClass.DAEMON


def test_callers_patterns_come_first():
    """Patterns are data: a site knows its own programs."""
    site = (Pattern(ProcessClass.TRAINING, names=frozenset({"frobnicate"})), *DEFAULT_PATTERNS)
    assert classify([b"/opt/frobnicate"], patterns=site) is ProcessClass.TRAINING
    assert classify([b"/opt/frobnicate"]) is ProcessClass.UNKNOWN


def test_command_name_stands_in_for_empty_argv():
    """Zombies and programs that wiped their arguments."""
    assert classify((), comm="rsync") is ProcessClass.IO


def test_command_of_looks_through_interpreters():
    """Also used to show people what runs."""
    assert command_of([b"python3.11", b"-W", b"ignore", b"/a/b.py"]) == Command("python3.11", "b.py", interpreter=True)
    assert command_of([b"bash", b"-lc", b"x"]) == Command("bash", interpreter=True, inline=True)


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_any_argv_has_a_class(argv):
    """argv is the users' to choose."""
    assert classify(argv) in ProcessClass


@pytest.mark.parametrize(
    "argv",
    [
        [b"1%" * 60_000 + b"!"],
        [b"env", b"x", *[b"A="] * 100_000, b"train.py"],
        [b"python3", *[b"-u"] * 100_000, b"train.py"],
        [b"/" + b"a" * 1_000_000],
        [b"python3", b"9." * 500_000],
    ],
)
@pytest.mark.timeout(10)  # takes milliseconds; where work grows with the square of the size, minutes
def test_megabytes_of_arguments_hold_nothing_up(argv):
    """Anybody may start such a process."""
    for _ in range(20):
        classify(argv)
        assert max(map(len, (command_of(argv).program, command_of(argv).script or ""))) <= 255


def test_nvidia_persistenced_is_a_daemon():
    assert classify([b"/usr/bin/nvidia-persistenced", b"--verbose"]) is ProcessClass.DAEMON
