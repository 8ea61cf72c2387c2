"""`grid-offloader cluster`: the cluster's nodes: are they fit, what runs there, how Prometheus knows them."""

from __future__ import annotations

from pathlib import Path

import click

from offloader.cli.cluster_install import install
from offloader.cli.cluster_look import check, status
from offloader.cli.cluster_run import restart, start, stop
from offloader.cli.cluster_uninstall import uninstall
from offloader.cli.cluster_upgrade import upgrade
from offloader.cli.config import config_option
from offloader.cli.files import put

__all__ = ["cluster_group"]


@click.group()
def cluster_group() -> None:
    """The cluster's nodes: check, install, start, stop; and how Prometheus is to know them."""


for _command in (check, install, start, stop, restart, status, upgrade, uninstall):
    cluster_group.add_command(_command)


@cluster_group.command()
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write here.  [default: stdout]")
@config_option
def targets(output: Path | None, config: Path | None) -> None:
    """Print the exporters as a target file for Prometheus (file_sd), with the labels cluster, node and role.

    With --output the file is replaced as a whole, so that Prometheus never reads half of one.
    """
    from offloader.config.load import find_config, load_cluster
    from offloader.config.targets import targets_json

    put(targets_json(load_cluster(find_config(config))), output)


@cluster_group.command()
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write here.  [default: stdout]")
@config_option
def rules(output: Path | None, config: Path | None) -> None:
    """Print Prometheus rules that tell which of its targets is which node, for sites with other exporters than ours.

    They go with the shipped rules/prometheus/sources: docs/sources.md. With --output the file is replaced as a whole;
    have Prometheus read it again then.
    """
    from offloader.config.load import find_config, load_cluster
    from offloader.config.node_rules import node_rules_yaml

    put(node_rules_yaml(load_cluster(find_config(config))), output)
