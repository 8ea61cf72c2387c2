"""The names of the series that the controller asks Prometheus for, in one place. `rules/prometheus/` defines them.

Every `grid:*` series carries the target labels of its raw series: `node` and `role` (head, worker) from the target
file (or by `node_rules.py`, where other exporters run), `job` and `instance` from Prometheus. The latter two stay on
purpose: two exporters that claim to be one node give two series for it, which is ambiguous and never acted on
(safety.md), instead of being averaged away.
Only series of exporters that answer (`up == 1`) are recorded, except `AGE` and `UP` themselves.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "AGE",
    "CLUSTER_LABEL",
    "CORES",
    "GPUS",
    "GPU_MEMORY_BYTES",
    "MEMORY_BYTES",
    "NODE_LABEL",
    "OFFER_CORES",
    "OFFER_GPUS",
    "OFFER_GPU_MEMORY_BYTES",
    "OFFER_MEMORY_BYTES",
    "PRESSURE",
    "RESOURCE_LABEL",
    "ROLE_LABEL",
    "SHARING_THRESHOLD",
    "STALL",
    "UP",
]

CLUSTER_LABEL: Final = "cluster"
"""On every target, for dashboards of several clusters; neither rules nor the controller look at it."""

NODE_LABEL: Final = "node"
ROLE_LABEL: Final = "role"
RESOURCE_LABEL: Final = "resource"

PRESSURE: Final = "grid:node_pressure:ratio"
"""{node, role, resource=cpu|memory|gpu}: how much of the resource is in use, 0..1."""

STALL: Final = "grid:node_pressure_stall:ratio"
"""{node, role, resource=cpu|memory|io, kind=some|full}: share of time in which work waited. Absent without PSI."""

AGE: Final = "grid:sample_age_seconds"
"""{node, role}: age of the newest raw sample. Goes on growing for 10 minutes after an exporter fell silent."""

UP: Final = "grid:up"
"""{node, role}: 1 when the exporter's last scrape succeeded, else 0. The raw `up` is one evaluation fresher."""

CORES: Final = "grid:node_cores"
MEMORY_BYTES: Final = "grid:node_memory_bytes"
GPUS: Final = "grid:node_gpus"
GPU_MEMORY_BYTES: Final = "grid:node_gpu_memory_bytes"

OFFER_CORES: Final = "grid:offer_cores"
"""{node}: what a worker can lend; absent where it lends none of this resource (too busy, too little free, down)."""

OFFER_MEMORY_BYTES: Final = "grid:offer_memory_bytes"
OFFER_GPUS: Final = "grid:offer_gpus"
OFFER_GPU_MEMORY_BYTES: Final = "grid:offer_gpu_memory_bytes"

SHARING_THRESHOLD: Final = "grid_sharing_threshold"
"""{resource=cpu|memory|gpu, kind=max_used|min_free}: exported by the controller from `sharing:` of its configuration.

max_used is a ratio; min_free is cores for cpu and bytes for memory and gpu. The offers are recorded with these
numbers, and with the defaults while no controller exports them.
"""
