"""The fault matrix: every state of a hand-off under every fault, judged by the witness."""
