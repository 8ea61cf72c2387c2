"""`deploy/model`: found by its folder, so the folders that its modules are imported from are put on the path."""

import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(DEPLOY), str(DEPLOY.parent)]

from _model.cli import main  # noqa: E402 - the folders have to be on the path first

sys.exit(main())
