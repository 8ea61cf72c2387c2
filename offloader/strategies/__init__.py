"""How work gets from one attempt to the next: one strategy per file, all of one shape."""
