"""The launcher's verbs: one JSON document on stdout and exit 0, or `{"error", "detail"}` and exit 1."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from .errors import LauncherError
from .wire import emit

__all__ = ["VERBS", "main"]

# Imported on use: `link` and `status` must start fast, and a zipapp compiles what it imports every time.
VERBS = {
    "version": ("version", "main"),
    "capture": ("capture", "main"),
    "survey": ("survey", "main"),
    "vouch": ("survey", "main_vouch"),
    "place": ("place", "main_place"),
    "check": ("check", "main"),
    "hold": ("hold", "main"),
    "open": ("opening", "main"),
    "link": ("link", "main"),
    "status": ("status", "main"),
    "members": ("attempt_members", "main"),
    "revoke": ("place", "main_revoke"),
    "fence": ("fence", "main"),
    "log": ("log", "main"),
    "guard": ("guard_start", "main"),
    "criu": ("criu.report", "main"),
    "estate": ("criu.estate", "main"),
    "offer": ("criu.offer", "main"),
    "pages": ("criu.shipping", "main_pages"),
    "receive": ("criu.shipping", "main_receive"),
    "pack": ("criu.image", "main_pack"),
    "unpack": ("criu.image", "main_unpack"),
    "terminal": ("terminal.verbs", "main"),
    "tie": ("terminal.verbs", "main_tie"),
    "weigh": ("stage", "main_weigh"),
    "lodge": ("stage", "main_lodge"),
    "stage": ("stage", "main_stage"),
    "staged": ("stage", "main_staged"),
    "manifest": ("stage", "main_manifest"),
    "merge": ("stage", "main_merge"),
    "unlodge": ("stage", "main_unlodge"),
    "facts": ("care.facts", "main"),
    "put": ("care.files", "main_put"),
    "listing": ("care.files", "main_listing"),
    "provide": ("care.provide", "main"),
    "revert": ("care.installed", "main_revert"),
    "used": ("care.spare", "main_used"),
    "prune": ("care.spare", "main_prune"),
    "privilege": ("care.privilege", "main"),
    "unprivilege": ("care.privilege", "main_unprivilege"),
    "unprovide": ("care.removal", "main_unprovide"),
    "remove": ("care.removal", "main_remove"),
    "tend": ("care.tending", "main_tend"),
    "untend": ("care.tending", "main_untend"),
    "tended": ("care.tending", "main_tended"),
    "unit-start": ("care.units", "main_start"),
    "unit-stop": ("care.units", "main_stop"),
    "unit-remove": ("care.units", "main_remove"),
    "units": ("care.units", "main_units"),
}


def main(arguments: list[str]) -> int:
    """Run one verb. Returns the exit status: 0, 1 for an error document, or what the verb itself returns."""
    _ensure_streams()
    os.umask(0o077)
    try:
        answer = _verb(arguments)(arguments[1:])
    except LauncherError as error:
        emit({"error": error.code, "detail": error.detail})
        return 1
    except OSError as error:
        emit({"error": "OS_ERROR", "detail": str(error)})
        return 1
    if isinstance(answer, int):
        return answer
    if answer is not None:
        emit(answer)
    return 0


def _verb(arguments: list[str]) -> Callable[[list[str]], Any]:
    if not arguments or arguments[0] not in VERBS:
        raise LauncherError("USAGE", f"one of {', '.join(VERBS)}")
    module, function = VERBS[arguments[0]]
    verb: Callable[[list[str]], Any] = getattr(importlib.import_module(f".{module}", __package__), function)
    return verb


def _ensure_streams() -> None:
    """Descriptors 0 to 2 exist, so that no file of ours ever takes their place."""
    while True:
        descriptor = os.open("/dev/null", os.O_RDWR)
        if descriptor > 2:  # noqa: PLR2004 (the standard streams)
            os.close(descriptor)
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
