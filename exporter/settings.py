"""What the exporter was asked to do: the typed result of its options."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from exporter.roots import Roots

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9777


class Scope(StrEnum):
    """What "the node" is: the whole machine, or one cgroup of it (a container, a slice)."""

    HOST = "host"
    CGROUP = "cgroup"


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Which processes are worth a series.

    A process is significant with at least `min_rss` bytes resident or `min_cpu` cores in use; of those at most
    `top` are exported, so that the number of series is bounded whatever runs on the node. Accounts below `min_uid` are
    the system's: their processes are not said to be movable.
    """

    top: int = 50
    min_rss: int = 4 << 20
    min_cpu: float = 0.005
    min_uid: int = 1000


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the exporter needs to know to run."""

    collectors: tuple[str, ...]
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    scope: Scope = Scope.HOST
    cgroup_path: str = "/"
    roots: Roots = field(default_factory=Roots)
    process: ProcessLimits = field(default_factory=ProcessLimits)
    gpu_interval: float = 5.0
    web_config: Path | None = None
