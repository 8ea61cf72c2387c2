"""The `grid-offloader` command: parse, call, render; nothing else."""
