"""The stub of `run --local`: keeps the terminal of work that starts here and may move later. Standard library only.

What it shows comes from an Endpoint; LocalPty is the one of a job on this machine. A job that moves gets another one,
and whoever watches sees no difference (docs/terminal.md).
"""
