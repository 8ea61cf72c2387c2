"""Whether a dashboard is what Grafana's published schema says, for the version that the SDK was made for.

Grafana publishes the schema of dashboards (https://github.com/grafana/kind-registry); grafana-foundation-sdk is made
from it, and its classes say for every object which keys there are and of which type. The JSON schemas that are made
from the same source forbid what Grafana itself writes: there "any value" became "an object".
"""

import enum
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from grafana_foundation_sdk.cog import plugins, variants
from grafana_foundation_sdk.cog import runtime as cog
from grafana_foundation_sdk.models import dashboard

from _check.document import Document

__all__ = ["faults"]

OPEN: Mapping[type, frozenset[str]] = {
    # "..." in the published schema; these are what the data source Prometheus reads.
    dashboard.AnnotationQuery: frozenset({"step", "tagKeys", "textFormat", "titleFormat", "useValueForTime"}),
}


def faults(document: Document) -> Iterator[str]:
    """Everything that the schema does not allow, each with its place."""
    plugins.register_default_plugins()
    yield from _object(document, dashboard.Dashboard, "")


@cache
def _keys(kind: type) -> Mapping[str, str]:
    """Key in JSON → attribute. Found by asking an instance whose attributes all hold their own names."""
    probe = kind()
    for name in typing.get_type_hints(kind):
        setattr(probe, name, _Name(name))
    return {key: value.name for key, value in probe.to_json().items() if isinstance(value, _Name)}


class _Name:
    def __init__(self, name: str) -> None:
        self.name = name


def _object(value: Any, kind: type, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place or 'it'}: {_shown(value)} is no {kind.__name__}"
        return
    hints, keys = typing.get_type_hints(kind), _keys(kind)
    if kind is dashboard.Panel:
        yield from _of_its_type(value, place)
    for key, attribute in keys.items():
        if key not in value and type(None) not in typing.get_args(hints[attribute]):
            yield f"{_at(place, key)} is missing in {kind.__name__}"
    for key, item in value.items():
        if key in keys:
            yield from _value(item, hints[keys[key]], _at(place, key))
        elif key not in OPEN.get(kind, ()):
            yield f"{_at(place, key)} is no key of {kind.__name__}"


def _of_its_type(panel: Document, place: str) -> Iterator[str]:
    """What a panel's type says of its options and of what is special about its fields."""
    known = cog.panelcfg_config(str(panel.get("type")))
    if known is None:
        yield f"{_at(place, 'type')}: no panel type is called {panel.get('type')!r}"
        return
    options, special = _class_of(known.options_from_json_hook), _class_of(known.field_config_from_json_hook)
    if options is not None and "options" in panel:
        yield from _object(panel["options"], options, _at(place, "options"))
    custom = ((panel.get("fieldConfig") or {}).get("defaults") or {}).get("custom")
    if special is not None and custom is not None:
        yield from _object(custom, special, _at(place, "fieldConfig.defaults.custom"))


def _class_of(hook: Any) -> type | None:
    """The class whose `from_json` that is: the registry of panels and data sources holds no classes themselves."""
    found = getattr(hook, "__self__", None)
    return found if isinstance(found, type) else None


def _value(value: Any, hint: Any, place: str) -> Iterator[str]:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in {object, Any}:
        return
    if origin in {typing.Union, types.UnionType}:
        yield from _any_of(value, inner, place)
    elif origin is list:
        yield from _list(value, inner[0], place)
    elif origin is dict:
        yield from _mapping(value, inner[1], place)
    elif origin is typing.Literal:
        yield from _one_of(value, inner, place)
    elif isinstance(hint, type) and issubclass(hint, variants.Dataquery):
        yield from _query(value, place)
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        yield from _one_of(value, [member.value for member in hint], place)
    elif hasattr(hint, "from_json"):
        yield from _object(value, hint, place)
    elif not _simple(value, hint):
        yield f"{place}: {_shown(value)} is no {getattr(hint, '__name__', hint)}"


def _one_of(value: Any, allowed: Sequence[Any], place: str) -> Iterator[str]:
    if value not in allowed:
        yield f"{place}: {_shown(value)} is none of {[*allowed]}"


def _any_of(value: Any, hints: tuple[Any, ...], place: str) -> Iterator[str]:
    """The faults by the alternative with the fewest: the one that was most probably meant."""
    meant = [hint for hint in hints if hint is not type(None) or value is None]
    found = [list(_value(value, hint, place)) for hint in meant]
    yield from min(found, key=len)


def _list(value: Any, hint: Any, place: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{place}: {_shown(value)} is no list"
        return
    for index, item in enumerate(value):
        yield from _value(item, hint, f"{place}[{index}]")


def _mapping(value: Any, hint: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {_shown(value)} is no object"
        return
    for key, item in value.items():
        yield from _value(item, hint, _at(place, key))


def _query(value: Any, place: str) -> Iterator[str]:
    source = str((value.get("datasource") or {}).get("type")) if isinstance(value, dict) else ""
    known = cog.Runtime().dataquery_variants.get(source)
    kind = _class_of(known.from_json_hook) if known is not None else None
    if kind is None:
        yield f"{place}: no data source is of type {source!r}"
        return
    yield from _object(value, kind, place)


def _simple(value: Any, hint: Any) -> bool:
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _at(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."  # noqa: PLR2004 -- a line's worth
