"""The ways on which a running program comes to another node: ours, and those of a person with criu and ssh."""

from enum import StrEnum


class Way(StrEnum):
    """By what its memory travels."""

    OURS = "ours"
    PAGE_SERVER = "page-server"
    TAR = "tar"
    RSYNC = "rsync"


BY_HAND = (Way.PAGE_SERVER, Way.TAR, Way.RSYNC)
