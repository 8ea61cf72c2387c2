"""The commented cluster file that `config init` writes."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["starter"]

_TEMPLATE = """\
# The cluster, for grid-offloader. All keys: docs/configuration.md.
# Check it:        grid-offloader config check
# What is in force: grid-offloader config show
cluster: {cluster}

# Exactly one head: the node that is kept responsive. Workers are where work is moved to.
nodes:
{nodes}
#   More that a node may say:
#    ssh: {{user: grid, port: 22, identity_file: ~/.ssh/id_ed25519, known_hosts: ~/.ssh/known_hosts}}
#    share: {{cores: 16, memory: 64GiB, gpus: 1}}   # lends at most this; false: nothing
#    draining: true                               # gets nothing new

# Without a url, `grid-offloader up` runs a Prometheus of its own on the head (http://127.0.0.1:9090).
prometheus:
#  url: http://127.0.0.1:9090
  scrape_interval: 5s      # as in Prometheus' own configuration; three of these make a sample stale
#  bearer_token_file: /etc/grid-offloader/prometheus.token
#  node_label: instance     # where node_exporter runs instead of grid-exporter: docs/sources.md

# Work that is moved runs as Ray jobs. Ray runs with token authentication; `grid-offloader up` makes a token.
ray: {{}}
#  address: http://{head}:8265
#  token_file: /etc/grid-offloader/ray.token

controller:
  listen: 127.0.0.1:9778   # /metrics for Prometheus
#  admin_group: wheel
#  webhook_token_file: /etc/grid-offloader/webhook.token   # of status page and webhook; `grid-offloader up` makes one

# Nothing is moved by itself until somebody says: grid-offloader auto --enable
auto_offload:
  thresholds: {{cpu: 80%, memory: 70%, gpu: 90%}}
  check_interval: 5s
  cooldown: 30s
#  rule_files: [rules/*.yml]   # instead of the shipped rules

# A worker lends what it does not use, by these.
sharing:
  thresholds:
    cpu: {{max_used: 30%, min_free: 1}}
    memory: {{max_used: 50%, min_free: 2GB}}
    gpu: {{max_used: 20%, min_free: 1GB}}

# What `grid-offloader up` puts on the nodes and keeps running there.
manage: {{}}
#  environments: /opt/grid-offloader   # where Python environments lie; may be shared by the nodes
#  wheels: /srv/wheels                 # installs from there, where nodes reach no package index
#  shared: [/home]                     # `cluster check` sees to it that all nodes see the same

protect:
  min_uid: 1000
#  programs: [my-server, "backup-*"]
#  users: [service-account]
#  licence_variables: []  # where everybody's shell sets LM_LICENSE_FILE
"""


def starter(cluster: str, head: tuple[str, str], workers: Sequence[tuple[str, str]]) -> str:
    """A cluster file for a head and workers given as (name, address)."""
    nodes = [(*head, "head"), *((*worker, "worker") for worker in workers)]
    lines = [f"  - {{name: {name}, role: {role}, address: {_quoted(address)}}}" for name, address, role in nodes]
    if not workers:
        lines.append("#  - {name: gpu1, role: worker, address: 192.0.2.11}")
    return _TEMPLATE.format(cluster=cluster, nodes="\n".join(lines), head=head[1])


def _quoted(address: str) -> str:
    """IPv6 has colons, which mean something in YAML."""
    return f'"{address}"' if ":" in address else address
