"""The examples of docs/checkpoints.md: what is copied from there works."""

import ast
import re
import signal
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs/checkpoints.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
(SHELL_LOOP,) = [code for language, code in EXAMPLES if language == "bash"]


@pytest.mark.slow
def test_the_shell_loop_saves_and_goes_on_from_there(bench, eventually):
    script = bench.root / "loop.sh"
    script.write_text(SHELL_LOOP)
    state = bench.root / "round.state"
    process = bench.start(["/bin/bash", str(script)])
    eventually(lambda: state.exists() and int(state.read_text()) >= 2)
    directory, _ = bench.guard([process.pid])
    link = bench.link(directory, hello="armed")
    link.send(do="checkpoint", signal=int(signal.SIGUSR1), grace_s=10.0, file=None)
    assert process.wait(10) == 85
    assert link.expect("saved")["how"] in ("exit_85", "unseen")
    rounds = int(state.read_text())
    bench.start(["/bin/bash", str(script)])
    eventually(lambda: int(state.read_text()) > rounds)
    assert int(state.read_text()) <= rounds + 2, "it began anew, or skipped some"


@pytest.mark.parametrize("code", [code for language, code in EXAMPLES if language == "python"])
def test_the_examples_for_libraries_are_python(code):
    ast.parse(code)
