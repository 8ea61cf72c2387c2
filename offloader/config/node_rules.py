"""Recording rules that tell which of Prometheus' targets is which node, for sites that run other exporters than ours.

`rules/prometheus/sources/` gives what they measure the labels `node` and `role` by joining with `TARGET_NODE`. That
needs no change to how the site scrapes: a target is known by what `prometheus.node_label` says on `up`, which every
target has, also while it does not answer.
Grammar: https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import yaml

from offloader.config.models import Cluster
from offloader.config.series import NODE_LABEL, ROLE_LABEL

__all__ = ["CLUSTER_NODE", "TARGET_NODE", "node_rules", "node_rules_yaml"]

CLUSTER_NODE: Final = "grid:cluster_node"
"""{known_as, node, role}: always 1, for every node and each of the names that a target may have for it."""

TARGET_NODE: Final = "grid:target_node"
"""{job, instance, node, role}: always 1, for every target on one of the nodes; at most one for a job and instance."""

_KNOWN_AS: Final = "known_as"
_WITHOUT_PORT: Final = "(?:[[](.+)[]]|([^:]+))(?::[0-9]+)?|(.*:.*:.*)"
"""gpu1, gpu1:9100, 192.0.2.11:9100, [2001:db8::1]:9100, 2001:db8::1 → what is before the port, without brackets."""

_HEADER: Final = """\
# Written by `grid-offloader cluster rules`: which target of Prometheus is which node. For rules/prometheus/sources/;
# write it again when nodes, their addresses or aliases, or prometheus.node_label change.
"""


def node_rules(cluster: Cluster) -> dict[str, Any]:
    """A rule file as a document.

    A node with our own exporter is left to that one: its targets count as nobody's. So does a job and instance that is
    known by several names, or by one and by none: nothing that joins by these could tell whose its series are, and two
    nodes for it would fail the join for all nodes.
    """
    known_as = (
        f"group by (job, instance, {_KNOWN_AS}) (\n"
        f'    label_replace(up, "{_KNOWN_AS}", "$1$2$3", "{cluster.prometheus.node_label}", "{_WITHOUT_PORT}")\n'
        "  )"
    )
    target_node = (
        f"group by (job, instance, {NODE_LABEL}, {ROLE_LABEL}) (\n"
        f"  {known_as}\n"
        f"  * on ({_KNOWN_AS}) group_left ({NODE_LABEL}, {ROLE_LABEL}) {CLUSTER_NODE}\n"
        ")\n"
        "unless on (job, instance) count by (job, instance) (\n"
        f"  {known_as}\n"
        ") > 1\n"
        f'unless on ({NODE_LABEL}) up{{job="grid-exporter"}}\n'
    )
    rules = [*_nodes(cluster), {"record": TARGET_NODE, "expr": target_node}]
    return {"groups": [{"name": "grid-nodes", "interval": "2s", "rules": rules}]}


def node_rules_yaml(cluster: Cluster) -> str:
    """The file's text."""
    return _HEADER + yaml.dump(node_rules(cluster), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _nodes(cluster: Cluster) -> Iterator[dict[str, Any]]:
    for node in cluster.nodes:
        for known_as in dict.fromkeys((node.name, node.address, *node.aliases)):
            labels = {_KNOWN_AS: known_as, NODE_LABEL: node.name, ROLE_LABEL: node.role.value}
            yield {"record": CLUSTER_NODE, "labels": labels, "expr": "vector(1)"}


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, as people write it."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
