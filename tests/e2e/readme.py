"""The README's commands, and who runs each: a command that nobody here knows fails a test."""

import re
import shlex
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
TEXT = (PROJECT / "README.md").read_text(encoding="utf-8")

FETCH = ("git clone <this repository> grid-offloader && cd grid-offloader", "pip install './grid-offloader[ray]'")
DEMO = ("./deploy/demo", "./deploy/demo --json demo.json", "./deploy/demo --no-rule", "./deploy/demo --keep")
DOWN = "./deploy/testbed down"
EXPORTER = "grid-exporter --web.listen-address 192.0.2.11:9777"
OFFLINE = (
    "grid-offloader config init --head login1 --worker gpu1=192.0.2.11 --worker gpu2=192.0.2.12 cluster.yaml",
    "grid-offloader config check cluster.yaml",
    "grid-offloader config show --config cluster.yaml",
    "grid-offloader cluster targets --config cluster.yaml --output targets.json",
    "grid-offloader rules list --config cluster.yaml",
    "grid-offloader rules check rules/offload/default.yml",
)
"""In this order, each on what the ones before it left."""

SERVICES = (
    "grid-offloader up --config cluster.yaml",
    "grid-offloader cluster status --config cluster.yaml",
    "grid-offloader cluster stop --config cluster.yaml",
)
"""test_up.py"""

WORK = "GRID_OFFLOAD=allow nohup python3 train.py >train.log 2>&1 &"
SERVE = "grid-offloader serve --config cluster.yaml"
LOOK = ("grid-offloader status", "grid-offloader scan --all", "grid-offloader why")
WHY = "grid-offloader why 4242"
DRY_RUN, MOVE = "grid-offloader move 4242 --dry-run", "grid-offloader move 4242 --target-node gpu1"
LOGS, CANCEL = "grid-offloader logs -f offload_1764000000_4242", "grid-offloader cancel offload_1764000000_4242"
RUN = "grid-offloader run -- python3 train.py"
AUTO = (
    "grid-offloader auto --enable --mode advise",
    "grid-offloader approve",
    "grid-offloader auto --enable --threshold cpu=80 --threshold memory=65",
    "grid-offloader auto --status",
    "grid-offloader auto --disable",
)
LIVE = (WORK, SERVE, *LOOK, WHY, DRY_RUN, MOVE, LOGS, CANCEL, RUN, *AUTO)

KNOWN = (*FETCH, *DEMO, DOWN, EXPORTER, *OFFLINE, *SERVICES, *LIVE)


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language; commands stand in those without."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


def commands() -> list[str]:
    """Every command, one per line of a block without a language, minus remarks."""
    lines = [line for block in blocks("") for line in block.splitlines()]
    return [re.sub(r"\s{2,}#.*", "", line).strip() for line in lines if line.strip()]


def inline_commands() -> list[str]:
    """What in running text looks like a whole command of ours."""
    found = re.findall(
        r"(?<!`)`((?:\./deploy/|grid-offloader |grid-exporter |pip )[^`]+)`(?!`)",
        re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL),
    )
    return [" ".join(shlex.split(line)) for line in found]
