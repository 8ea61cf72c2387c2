"""The hand-off: capsule, preflight, state machine, recovery."""
