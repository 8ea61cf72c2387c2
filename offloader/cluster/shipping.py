"""`python -m offloader.cluster.shipping` writes deploy/systemd and deploy/prometheus; `--check` compares.

They are what `cluster start` makes of deploy/grid.yaml, for people who install by hand or by tools of their own. So
ports, names and options are written down once: in offloader/cluster/services.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from offloader.cluster.services import Place, services
from offloader.cluster.unit_text import unit_name, unit_text
from offloader.config.load import load_cluster
from offloader.config.models import Cluster
from offloader.config.shipped import shipped

__all__ = ["main", "shipped_files"]

_CONFIG = Path("/etc/grid-offloader/cluster.yaml")
_EXAMPLE = "grid.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, or with --check compare. Exit status 1 when one is stale, or one too many."""
    parser = argparse.ArgumentParser(prog="python -m offloader.cluster.shipping", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is not up to date")
    check = parser.parse_args(argv).check
    wanted = shipped_files()
    there = {str(path) for folder in ("systemd", "prometheus") for path in shipped("deploy", folder).rglob("*.*")}
    stale = [path for path in there - set(wanted) if Path(path).is_file()]
    for name, text in wanted.items():
        path = Path(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in sorted(stale):
        sys.stderr.write(f"{name} is stale: run python -m offloader.cluster.shipping\n")
    return 1 if stale else 0


def shipped_files() -> dict[str, str]:
    """Path → text of everything that is made of deploy/grid.yaml."""
    cluster = load_cluster(shipped("deploy", _EXAMPLE))
    return {**_units(cluster), **_prometheus(cluster)}


def _units(cluster: Cluster) -> dict[str, str]:
    found = {}
    for node in (cluster.head, cluster.workers[0]):
        for service in services(cluster, node, _place(cluster), _CONFIG):
            path = shipped("deploy", "systemd", node.role.value, unit_name(service.name))
            found[str(path)] = unit_text(service, system=True).replace(
                "# Made by `grid-offloader cluster start`: changes are lost.",
                "# Made of deploy/grid.yaml by python -m offloader.cluster.shipping.",
            )
    return found


def _prometheus(cluster: Cluster) -> dict[str, str]:
    """Its configuration and targets; the rules are in rules/prometheus."""
    (service,) = (one for one in services(cluster, cluster.head, _place(cluster), _CONFIG) if one.name == "prometheus")
    root = f"{cluster.head.state_dir}/prometheus/"
    shown = (file for file in service.files if "/rules/" not in file.path)
    return {str(shipped("deploy", "prometheus", *file.path.removeprefix(root).split("/"))): file.text for file in shown}


def _place(cluster: Cluster) -> Place:
    manage, state_dir = cluster.manage, cluster.head.state_dir
    assert manage.app is not None
    assert manage.ray is not None
    return Place(app=manage.app, ray=manage.ray, user="grid", home=state_dir)


if __name__ == "__main__":
    sys.exit(main())
