"""The journal: the truth about moves, on the disk. `Journal` writes (the daemon), `open_read_only` looks (anybody)."""

from offloader.adapters.journal.journal import Journal
from offloader.adapters.journal.reading import JournalReader, open_read_only
from offloader.adapters.journal.statedir import check_state_dir

__all__ = ["Journal", "JournalReader", "check_state_dir", "open_read_only"]
