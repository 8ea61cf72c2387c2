"""Job → attempts → moves, and the log of what happened: shared by moves, `run`, submissions and sessions."""
