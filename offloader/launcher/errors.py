"""The one exception that a verb turns into `{"error": CODE, "detail": …}` on stdout and exit status 1."""

from __future__ import annotations

__all__ = ["LauncherError"]


class LauncherError(Exception):
    """Something that the caller must know by its code: a Reason of the domain or one of docs/protocol.md."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}" if detail else code)
