"""`grafana/check`: found by its folder, so the folder that its modules are imported from is put on the path."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from _check.cli import main  # noqa: E402 - the folder has to be on the path first

sys.exit(main())
