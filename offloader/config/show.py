"""A loaded cluster as rows: every key with its effective value and where that comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from offloader.config.document import Document, Location
from offloader.config.models import Cluster

__all__ = ["Effective", "effective", "effective_document"]


class Effective(NamedTuple):
    """One value in force. `source`: FILE:LINE, or `default`."""

    key: str
    value: str
    source: str


def effective_document(cluster: Cluster) -> dict[str, Any]:
    """Every value in force, in the form of the file itself; units as people write them."""
    return cluster.model_dump(mode="json", by_alias=True)


def effective(cluster: Cluster, document: Document) -> tuple[Effective, ...]:
    """One row per value."""
    return tuple(
        Effective(_key(location), _text(value), _source(document, location))
        for location, value in _leaves(effective_document(cluster), ())
    )


def _leaves(value: Any, at: Location) -> Iterator[tuple[Location, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*at, key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, (*at, index))
    else:
        yield at, value


def _source(document: Document, location: Location) -> str:
    if document.has(location):
        return f"{document.file}:{document.key_place(location).line}"
    parent = location[:-1]
    # `share: false` says something about `share.enabled`
    if parent and document.has(parent) and not document.is_mapping(parent):
        return f"{document.file}:{document.key_place(parent).line}"
    return "default"


def _key(location: Location) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "true" if value else "false"
        case list():
            return ", ".join(_text(item) for item in value) or "-"
        case dict():
            return "-"
        case _:
            return str(value)
