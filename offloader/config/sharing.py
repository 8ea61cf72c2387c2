"""What workers lend: the thresholds that the recording rules compare with, and the caps of single nodes."""

from __future__ import annotations

from offloader.config.models import Cluster, Share
from offloader.model import Capacity, Resource

__all__ = ["capped", "sharing_thresholds"]


def sharing_thresholds(cluster: Cluster) -> dict[tuple[Resource, str], float]:
    """Values of `series.SHARING_THRESHOLD` by (resource, kind): max_used ratios, min_free in cores or bytes.

    The controller exports them, so that offers are recorded by the numbers of its configuration.
    """
    limits = cluster.sharing.thresholds
    return {
        (Resource.CPU, "max_used"): limits.cpu.max_used,
        (Resource.CPU, "min_free"): limits.cpu.min_free,
        (Resource.MEMORY, "max_used"): limits.memory.max_used,
        (Resource.MEMORY, "min_free"): float(limits.memory.min_free),
        (Resource.GPU, "max_used"): limits.gpu.max_used,
        (Resource.GPU, "min_free"): float(limits.gpu.min_free),
    }


def capped(offer: Capacity, share: Share) -> Capacity | None:
    """An offer as far as the node may lend it; None: it lends nothing."""
    if not share.enabled:
        return None
    gpus = offer.gpus if share.gpus is None else min(offer.gpus, share.gpus)
    return Capacity(
        cores=offer.cores if share.cores is None else min(offer.cores, share.cores),
        memory_bytes=offer.memory_bytes if share.memory is None else min(offer.memory_bytes, share.memory),
        gpus=gpus,
        # Memory comes with its GPU: of fewer GPUs the proportionate part.
        gpu_memory_bytes=offer.gpu_memory_bytes * gpus // offer.gpus if offer.gpus else 0,
    )
