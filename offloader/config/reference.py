"""`python -m offloader.config.reference` writes the documentation's key tables from the models; `--check` compares.

docs/configuration.md and docs/rules.md hold text by hand around `<!-- keys:NAME -->` … `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from offloader.config.checkpointing import CheckpointSection
from offloader.config.models import Cluster
from offloader.config.rule_models import GroupHeader, MoveSection, RuleEntry, SelectSection
from offloader.config.shipped import shipped

__all__ = ["main", "rendered"]

_BLOCK: Final = re.compile(r"(?<=<!-- keys:)(?P<name>\w+)(?: -->\n)(?P<table>.*?)(?=<!-- end -->)", re.DOTALL)
_PAGES: Final = ("configuration.md", "rules.md")
_MODELS: Final[dict[str, type[BaseModel]]] = {
    "cluster": Cluster,
    "group": GroupHeader,
    "rule": RuleEntry,
    "select": SelectSection,
    "move": MoveSection,
    "checkpoint": CheckpointSection,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables into the pages, or with --check compare. Exit status 1 when one is stale."""
    parser = argparse.ArgumentParser(prog="python -m offloader.config.reference", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a page is not up to date")
    check = parser.parse_args(argv).check
    stale = 0
    for name in _PAGES:
        path = shipped("docs", name)
        page = path.read_text(encoding="utf-8")
        fresh = rendered(page)
        if not check:
            path.write_text(fresh, encoding="utf-8")
        elif fresh != page:
            stale = 1
            sys.stderr.write(f"{path} is stale: run python -m offloader.config.reference\n")
    return stale


def rendered(page: str) -> str:
    """A page with every table as the models have it now."""
    return _BLOCK.sub(lambda found: f"{found['name']} -->\n\n{_tables(found['name'])}\n", page)


def _tables(name: str) -> str:
    """One table for a rule's mapping; for the cluster file one per section."""
    if name != "cluster":
        return _table(list(_rows(_MODELS[name], "", deep=False)))
    parts = ["## The file itself\n", _table(list(_rows(Cluster, "", deep=False)))]
    for key, info in Cluster.model_fields.items():
        model = _model_of(info.annotation)
        if model is not None:
            parts += [
                f"\n## `{info.alias or key}`\n",
                f"{_summary(model)}\n",
                _table(list(_rows(model, "", deep=True))),
            ]
    return "\n".join(parts)


def _rows(model: type[BaseModel], prefix: str, *, deep: bool) -> Iterator[tuple[str, str, str]]:
    for name, info in model.model_fields.items():
        key = prefix + (info.alias or name)
        inner = _model_of(info.annotation)
        if inner is not None and deep:
            if info.description:
                yield f"`{key}`", "", info.description
            yield from _rows(inner, f"{key}.", deep=True)
        elif inner is not None and not info.description:
            yield f"`{key}`", "", _summary(inner)
        else:
            yield f"`{key}`", _default(model, name, info), info.description or ""


def _table(rows: list[tuple[str, str, str]]) -> str:
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {key} | {default} | {meaning} |" for key, default, meaning in rows)]) + "\n"


def _default(model: type[BaseModel], name: str, info: FieldInfo) -> str:
    """As it would be written in the file; what is derived is said in the meaning."""
    if info.is_required():
        return "required"
    if info.default_factory is not None or info.default in (None, "", (), {}):
        return ""
    shown = model.__pydantic_serializer__.to_python(
        model.model_construct(**{name: info.default}), mode="json", by_alias=False, include={name}
    )[name]
    return f"`{_written(shown)}`"


def _written(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return f"[{', '.join(map(str, value))}]"
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The section behind a field: a model, or what a list consists of."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in get_args(annotation) if (found := _model_of(part)) is not None), None)


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
