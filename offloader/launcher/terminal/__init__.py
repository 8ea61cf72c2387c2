"""A job's terminal where it was moved to: a pseudoterminal here, its user's elsewhere, and what goes between them.

The stub of `run --local` speaks the same: offloader/terminal uses `lasting`, `tie`, `door`, `typed` and `frost`
(docs/terminal.md).
"""
