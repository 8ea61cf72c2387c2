"""*Workers and offers*: where work can go, and what it takes there."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import statetimeline, table, timeseries

from _dashboards.frame import framed
from _dashboards.panels import limit, lines, phases
from _dashboards.promql import of_cluster, of_node, ours
from _dashboards.tables import Column, rows

__all__ = ["dashboard"]


def dashboard() -> builders.Dashboard:
    """Every worker: what it has, what it lends, what is held of it."""
    return framed(
        "grid-workers",
        "Grid: workers and offers",
        "What each worker has, lends and holds for moved work, and what speaks against it as a target.",
        [
            ("Workers", [_workers(), _up()]),
            ("Use", [_use("cpu", "CPU"), _use("memory", "Memory")]),
            ("Offers", [_cores(), _memory()]),
            ("GPUs", [_gpus(), _gpu_use(), _gpu_memory(), _gpu_users(), _heat(), _power()]),
            ("Network and disks", [_network(), _disks()]),
        ],
        role="worker",
    )


def _workers() -> table.Panel:
    gpu_use = f"{_pressure('gpu')} or on (node) 0 * ({of_node('grid:node_gpus')} == 0)"
    none = f"or on (node) 0 * {of_node('grid:node_cores')}"
    return rows(
        "Workers",
        "A worker lends a resource while it uses less of it than the sharing threshold; 0: it lends none of it.",
        {
            f"min by (node) ({of_node('grid:up')})": Column("is", "none", {0: ("DOWN", "red"), 1: ("up", "green")}),
            f"max by (node) ({_pressure('cpu')})": Column("CPU", "percentunit", filled=True),
            f"max by (node) ({_pressure('memory')})": Column("memory", "percentunit", filled=True),
            f"max by (node) ({gpu_use})": Column("GPU", "percentunit", filled=True),
            f"sum by (node) ({of_node('grid:offer_cores')} {none})": Column("lends cores", "none"),
            f"sum by (node) ({of_node('grid:offer_memory_bytes')} {none})": Column("lends memory", "bytes"),
            f"sum by (node) ({of_node('grid:offer_gpus')} {none})": Column("lends GPUs", "none"),
            f"sum by (node) ({_held('cores')} {none})": Column("holds cores", "none"),
            f"sum by (node) ({_held('memory_bytes')} {none})": Column("holds memory", "bytes"),
            f"max by (node) ({of_node('grid:sample_age_seconds')})": Column("age of data", "s"),
        },
        labels=("node",),
        sort="node",
        ascending=True,
    )


def _up() -> statetimeline.Panel:
    named = {0: ("down", "red"), 1: ("up", "green")}
    asked = (f"min by (node) ({of_node('grid:up')})", "{{node}}")
    return phases("Availability", "Whether the exporter of each worker answered.", named, asked, width=24)


def _use(resource: str, name: str) -> timeseries.Panel:
    panel = lines(
        f"{name} in use",
        f"{name} of each worker; above the limit it lends none.",
        "percentunit",
        (_pressure(resource), "{{node}}"),
        (_sharing(resource, "max_used"), "lends below"),
    )
    return limit(panel.max(1), "lends below", "orange")


def _pressure(resource: str) -> str:
    return of_node("grid:node_pressure:ratio", f'resource="{resource}"')


def _sharing(resource: str, kind: str) -> str:
    return "max({})".format(of_cluster("grid_sharing_threshold", f'resource="{resource}"', f'kind="{kind}"'))


def _held(what: str) -> str:
    return ours(f"reserved_{what}", 'node=~"$node"')


def _cores() -> timeseries.Panel:
    return _offers("cores", "Cores", "none", "grid:offer_cores", "grid:node_cores")


def _memory() -> timeseries.Panel:
    return _offers("memory_bytes", "Memory", "bytes", "grid:offer_memory_bytes", "grid:node_memory_bytes")


def _offers(what: str, name: str, unit: str, offer: str, total: str) -> timeseries.Panel:
    held = f"sum({_held(what)} or on (node) 0 * {of_node('grid:node_cores')})"
    panel = lines(
        f"{name} that workers lend",
        f"{name} on offer, by worker; what the ledger holds of it for moved work; and all there is.",
        unit,
        (of_node(offer), "{{node}}"),
        (held, "held"),
        (f"sum({of_node(total)})", "all"),
        stacked=True,
    )
    return limit(limit(panel, "held", "orange"), "all", "text")


def _gpus() -> table.Panel:
    by = "max by (node, gpu)"
    return rows(
        "GPUs",
        "Every GPU of the workers. Of one that is divided (MIG) its instances are what is lent.",
        {
            f"max by (node, gpu, name, mig) ({of_node('grid_gpu_info')})": Column(),
            f"{by} ({of_node('grid_gpu_utilisation_ratio')})": Column("busy", "percentunit", filled=True),
            f"{by} ({of_node('grid_gpu_memory_used_bytes')})": Column("memory used", "bytes"),
            f"{by} ({of_node('grid_gpu_memory_total_bytes')})": Column("memory", "bytes"),
            f"{by} ({of_node('grid_gpu_processes')})": Column("processes", "none"),
            f"{by} ({of_node('grid_gpu_temperature_celsius')})": Column("temperature", "celsius"),
            f"{by} ({of_node('grid_gpu_power_watts')})": Column("power", "watt"),
            f"{by} ({_errors()})": Column("uncorrected errors", "none"),
        },
        labels=("node", "gpu", "name", "mig"),
        sort="node",
        ascending=True,
    )


def _errors() -> str:
    return of_node("grid_gpu_ecc_errors_total", 'type="uncorrected"')


def _gpu_use() -> timeseries.Panel:
    panel = lines(
        "GPUs, how busy",
        "Over 30 s; of a divided GPU's instances only those that are idle are known. Above the limit it is not lent.",
        "percentunit",
        (of_node("grid:gpu_utilisation:ratio"), "{{node}} {{gpu}} {{gpu_instance}}"),
        (_sharing("gpu", "max_used"), "lends below"),
        width=8,
    )
    return limit(panel.max(1), "lends below", "orange")


def _gpu_memory() -> timeseries.Panel:
    panel = lines(
        "GPUs, free memory",
        "Of each GPU or instance of a divided one. Below the limit it is not lent.",
        "bytes",
        (of_node("grid:gpu_free_memory_bytes"), "{{node}} {{gpu}} {{gpu_instance}}"),
        (_sharing("gpu", "min_free"), "lends above"),
        width=8,
    )
    return limit(panel, "lends above", "orange")


def _gpu_users() -> timeseries.Panel:
    memory = f"sum by (user, node) ({of_node('grid_process_gpu_memory_bytes')})"
    text = "GPU memory that the processes of each user hold."
    return lines("GPU memory by user", text, "bytes", (memory, "{{user}} on {{node}}"), width=8, stacked=True)


def _heat() -> timeseries.Panel:
    heat = of_node("grid_gpu_temperature_celsius")
    return lines("GPUs, temperature", "Of each GPU.", "celsius", (heat, "{{node}} {{gpu}}"))


def _power() -> timeseries.Panel:
    power = of_node("grid_gpu_power_watts")
    return lines("GPUs, power", "Draw of each board.", "watt", (power, "{{node}} {{gpu}}"), stacked=True)


def _network() -> timeseries.Panel:
    return lines(
        "Network",
        "Through the nodes' interfaces. None where the node is a cgroup: it has no network of its own.",
        "Bps",
        (_rate("grid_node_network_receive_bytes_total"), "{{node}} in"),
        (_rate("grid_node_network_transmit_bytes_total"), "{{node}} out"),
    )


def _disks() -> timeseries.Panel:
    return lines(
        "Disks",
        "From and to the nodes' disks.",
        "Bps",
        (_rate("grid_node_disk_read_bytes_total"), "{{node}} read"),
        (_rate("grid_node_disk_written_bytes_total"), "{{node}} written"),
    )


def _rate(name: str) -> str:
    return f"sum by (node) (rate({of_node(name)}[$__rate_interval]))"
