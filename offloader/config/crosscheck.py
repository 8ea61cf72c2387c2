"""What no single field can tell: heads, duplicates, reserved labels, secrets' modes, files that are not there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import NamedTuple

from offloader.config.document import Document, Location
from offloader.config.models import Cluster, Node
from offloader.config.problems import Problem
from offloader.config.secrets import exposure
from offloader.config.validate import Validated
from offloader.model import Role

__all__ = ["Findings", "crosscheck", "expand"]

_RESERVED_LABELS = ("node", "role", "job", "instance")
_NOT_OF_A_NODE = ("job", "role")
_LONGEST_SOCKET_PATH = 107  # man 7 unix: sun_path has 108 bytes with its NUL


class Findings(NamedTuple):
    """Problems forbid to use the file, warnings do not."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def crosscheck(found: Validated[Cluster], document: Document, base: Path) -> Findings:
    """Check what was understood of a cluster file; `base` is its directory."""
    if found.value is None:
        return Findings((), ())
    cluster = found.value
    check = _Check(cluster, document, base)
    problems = [*check.thresholds(), *check.node_label(), *check.secrets(), *check.accounts()]
    # In lists something may have been put aside: then "no head" would mislead, and positions are shifted.
    if found.sound("nodes"):
        problems += [*check.heads(), *check.duplicates(), *check.aliases(), *check.labels()]
    if found.sound("classes"):
        problems += check.classes()
        problems += check.checkpoints()
    for section in ("auto_offload", "prometheus"):
        if found.sound(section, "rule_files"):
            problems += check.files(section)
    return Findings(tuple(problems), tuple(check.warnings()))


def expand(patterns: tuple[str, ...], base: Path) -> tuple[Path, ...]:
    """The files that patterns with wildcards name, sorted, each once. Relative ones count from `base`."""
    named = (str(base / Path(pattern).expanduser()) for pattern in patterns)
    return tuple(dict.fromkeys(Path(path) for pattern in named for path in sorted(glob(pattern))))  # noqa: PTH207 -- absolute patterns


class _Check:
    def __init__(self, cluster: Cluster, document: Document, base: Path) -> None:
        self.cluster = cluster
        self.document = document
        self.base = base

    def heads(self) -> Iterator[Problem]:
        heads = [index for index, node in enumerate(self.cluster.nodes) if node.role is Role.HEAD]
        if not heads:
            yield self.document.problem(("nodes",), "no node has the role head; give it to the one to be relieved")
        for index in heads[1:]:
            first = self.cluster.nodes[heads[0]].name
            yield self.document.problem(("nodes", index, "role"), f"a second head ({first} is one); there is only one")

    def duplicates(self) -> Iterator[Problem]:
        for key in ("name", "address"):
            first: dict[str, Node] = {}
            for index, node in enumerate(self.cluster.nodes):
                value = str(getattr(node, key))
                if (other := first.setdefault(value.lower(), node)) is not node:
                    owner = "" if key == "name" else f" by {other.name}"
                    yield self.document.problem(("nodes", index, key), f"{key} {value} is taken already{owner}")

    def aliases(self) -> Iterator[Problem]:
        """What a target's label says must mean one node. Names and addresses used twice are told by `duplicates`."""
        owners = {node.name.lower(): node for node in self.cluster.nodes}
        for index, node in enumerate(self.cluster.nodes):
            owner = owners.setdefault(node.address.lower(), node)
            if owner is not node and owner.name.lower() == node.address.lower():
                location: Location = ("nodes", index, "address")
                yield self.document.problem(location, f"address {node.address} is the name of {owner.name}")
        for index, node in enumerate(self.cluster.nodes):
            for position, alias in enumerate(node.aliases):
                if (owner := owners.setdefault(alias.lower(), node)) is not node:
                    location = ("nodes", index, "aliases", position)
                    yield self.document.problem(location, f"alias {alias} is {owner.name}'s already")

    def labels(self) -> Iterator[Problem]:
        for index, node in enumerate(self.cluster.nodes):
            for label in node.labels:
                if label in _RESERVED_LABELS or label.startswith("__"):
                    location: Location = ("nodes", index, "labels", label)
                    yield self.document.problem(location, f'label "{label}" is set by us or by Prometheus', at_key=True)

    def node_label(self) -> Iterator[Problem]:
        label = self.cluster.prometheus.node_label
        if label in _NOT_OF_A_NODE or label.startswith("__"):
            message = f'the label "{label}" does not tell nodes apart; use instance, or one that your targets carry'
            yield self.document.problem(("prometheus", "node_label"), message)

    def thresholds(self) -> Iterator[Problem]:
        auto = self.cluster.auto_offload
        limits = {"cpu": auto.thresholds.cpu, "memory": auto.thresholds.memory, "gpu": auto.thresholds.gpu}
        for resource, threshold in limits.items():
            if threshold <= auto.target_margin:
                message = f"not above target_margin: no {resource} target could exist"
                yield self.document.problem(("auto_offload", "thresholds", resource), message)

    def classes(self) -> Iterator[Problem]:
        for index, pattern in enumerate(self.cluster.classes):
            if not pattern.names and not pattern.words:
                yield self.document.problem(("classes", index), "needs names or words, else it matches nothing")

    def checkpoints(self) -> Iterator[Problem]:
        for index, pattern in enumerate(self.cluster.checkpoints):
            if pattern.process_class is None and not pattern.programs:
                message = "needs class or programs, else every job on the head could be sent its signal"
                yield self.document.problem(("checkpoints", index), message)

    def secrets(self) -> Iterator[Problem]:
        for location, path in self._secrets():
            if path is not None and (problem := exposure(path)) is not None:
                yield self.document.problem(location, problem)
        socket = str(self.cluster.controller.socket)
        if len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH:
            message = f"{socket} is longer than a socket's path may be ({_LONGEST_SOCKET_PATH} bytes)"
            yield self.document.problem(("controller", "socket"), message)

    def accounts(self) -> Iterator[Problem]:
        """Whoever reaches Ray runs code as the account that it runs as (docs/operations.md, Several users)."""
        account = self.cluster.manage.ray_user
        if self.cluster.multi_user and account is None:
            message = "Ray needs an ordinary account of its own there, nobody's: name it in manage.ray_user"
            yield self.document.problem(("multi_user",), message)
        if account == "root":
            yield self.document.problem(("manage", "ray_user"), "Ray never runs as root")

    def files(self, section: str) -> Iterator[Problem]:
        patterns = getattr(self.cluster, section).rule_files
        for index, pattern in enumerate(patterns):
            if not expand((pattern,), self.base):
                yield self.document.problem((section, "rule_files", index), f"no file matches {pattern}")

    def warnings(self) -> Iterator[Problem]:
        for location, path in self._secrets():
            if path is not None and os.access(path.parent, os.X_OK) and not path.exists():
                yield self.document.problem(location, f"{path} does not exist (yet)")
        for index, node in enumerate(self.cluster.nodes):
            if node.role is Role.HEAD and self.document.has(("nodes", index, "share")):
                yield self.document.problem(
                    ("nodes", index, "share"), "without effect: a head never lends", at_key=True
                )
        yield from self._lending_under_pressure()
        yield from self._writable()

    def _secrets(self) -> tuple[tuple[Location, Path | None], ...]:
        return (
            (("prometheus", "bearer_token_file"), self.cluster.prometheus.bearer_token_file),
            (("ray", "token_file"), self.cluster.ray.token_file),
            (("controller", "webhook_token_file"), self.cluster.controller.webhook_token_file),
        )

    def _lending_under_pressure(self) -> Iterator[Problem]:
        lending, limits = self.cluster.sharing.thresholds, self.cluster.auto_offload.thresholds
        pairs = {
            "cpu": (lending.cpu.max_used, limits.cpu),
            "memory": (lending.memory.max_used, limits.memory),
            "gpu": (lending.gpu.max_used, limits.gpu),
        }
        for resource, (used, limit) in pairs.items():
            if used > limit:
                yield self.document.problem(
                    ("sharing", "thresholds", resource, "max_used"),
                    f"above the threshold for {resource}: a worker in trouble would still offer it",
                )

    def _writable(self) -> Iterator[Problem]:
        """Who may write this file decides which processes are stopped."""
        try:
            mode = stat.S_IMODE(Path(self.document.file).stat().st_mode)
        except OSError:
            return
        if mode & 0o002:
            yield Problem(self.document.file, 1, 1, f"everybody may write this file: chmod o-w {self.document.file}")
