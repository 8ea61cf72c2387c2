"""The metrics of processes, as the process collector has them."""

from exporter.metrics import Kind, Metric

_PROCESS = ("pid", "comm", "user", "class")

CPU_RATIO = Metric(
    "grid_process_cpu_ratio",
    Kind.GAUGE,
    "Cores the process used since the previous sample (2.0 is two cores busy).",
    "cores",
    _PROCESS,
    "topk(5, grid_process_cpu_ratio)",
)
CPU_SECONDS = Metric(
    "grid_process_cpu_seconds_total",
    Kind.COUNTER,
    "CPU time of all threads of the process, ended ones included.",
    "seconds",
    _PROCESS,
    "sum by (user) (rate(grid_process_cpu_seconds_total[1m]))",
)
RESIDENT = Metric(
    "grid_process_resident_bytes",
    Kind.GAUGE,
    "Memory of the process that is in RAM, shared pages included.",
    "bytes",
    _PROCESS,
    "topk(5, grid_process_resident_bytes)",
)
SWAP = Metric("grid_process_swap_bytes", Kind.GAUGE, "Memory of the process that is swapped out.", "bytes", _PROCESS)
USS = Metric(
    "grid_process_uss_bytes",
    Kind.GAUGE,
    "Memory that ending the process would free: an estimate, resident without file-backed and shared pages.",
    "bytes",
    _PROCESS,
    "sum by (class) (grid_process_uss_bytes)",
)
IO_READ = Metric(
    "grid_process_io_read_bytes_total",
    Kind.COUNTER,
    "Bytes the process made storage read; absent where it may not be seen.",
    "bytes",
    _PROCESS,
    "topk(5, rate(grid_process_io_read_bytes_total[1m]))",
)
IO_WRITE = Metric(
    "grid_process_io_write_bytes_total",
    Kind.COUNTER,
    "Bytes the process made storage write; absent where it may not be seen.",
    "bytes",
    _PROCESS,
)
GPU_MEMORY = Metric(
    "grid_process_gpu_memory_bytes",
    Kind.GAUGE,
    "GPU memory of the process.",
    "bytes",
    (*_PROCESS, "gpu"),
    "sum by (user) (grid_process_gpu_memory_bytes)",
)
GPU_UTILISATION = Metric(
    "grid_process_gpu_utilisation_ratio",
    Kind.GAUGE,
    "Share of the GPU's time the process used (absent under MIG).",
    "ratio 0-1",
    (*_PROCESS, "gpu"),
)
START = Metric(
    "grid_process_start_time_seconds",
    Kind.GAUGE,
    "When the process started.",
    "seconds since the epoch",
    _PROCESS,
    "time() - grid_process_start_time_seconds",
)
THREADS = Metric("grid_process_threads", Kind.GAUGE, "Threads of the process.", "threads", _PROCESS)
MOVABLE = Metric(
    "grid_process_movable",
    Kind.GAUGE,
    "1 where nothing in the process itself keeps a rule from moving it, 0 where something does: reason is its code.",
    "boolean",
    (*_PROCESS, "reason"),
    "sum by (reason) (grid_process_movable == bool 0)",
)
INFO = Metric(
    "grid_process_info",
    Kind.INFO,
    "Always 1: with the start time in clock ticks since boot, which together with the pid identifies the process.",
    "none",
    ("pid", "start", "comm", "user", "class"),
)

PER_PROCESS = (CPU_RATIO, CPU_SECONDS, RESIDENT, SWAP, USS, IO_READ, IO_WRITE, THREADS, START)
"""Those that every process has, as far as they can be known."""
