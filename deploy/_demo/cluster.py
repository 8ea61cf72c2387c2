"""The cluster of the demo."""

from _testbed import bed, controller, monitoring, ray_cluster
from _testbed.settings import Settings

__all__ = ["start"]


def start(settings: Settings, *, rule: bool) -> None:
    """Bring up hosts, Ray, monitoring and the controller. Without `rule` its rule only observes."""
    bed.up(settings)
    ray_cluster.up(settings, ray_cluster.DEFAULT_USER)
    monitoring.up(settings)
    controller.configure(settings, mode="auto" if rule else "observe")
    controller.start(settings)
