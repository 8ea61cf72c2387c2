"""The one program that acts on nodes: standard library only, copied to each node as one file.

Two long-lived roles (`hold` on the target, `guard` on the source) and a handful of short verbs; docs/protocol.md
is its contract. It runs on any Python from 3.9, whatever the node happens to have as /usr/bin/python3.
"""

PROTOCOL = 1
