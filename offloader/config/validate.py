"""pydantic's findings → problems with places, and what is left of a model when its broken parts are put aside.

The second matters because cross-field checks should report in the same run: they work on the salvaged model and leave
alone what is known to be broken.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from offloader.config.document import Document, Location
from offloader.config.problems import Problem, did_you_mean

__all__ = ["Validated", "validate"]

ModelT = TypeVar("ModelT", bound=BaseModel)

_ROUNDS = 20
_MESSAGES = {
    "string_type": "must be text (put it in quotes)",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping (key: value)",
    "mapping_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "tuple_type": "must be a list",
}


@dataclass(frozen=True, slots=True)
class Validated(Generic[ModelT]):
    """A model, or what could be saved of it (None: too little), with all problems and where they are."""

    value: ModelT | None
    problems: tuple[Problem, ...]
    broken: frozenset[Location]

    def sound(self, *location: str | int) -> bool:
        """Whether nothing at, above or below this location is broken."""
        return not any(known[: len(location)] == location or location[: len(known)] == known for known in self.broken)


def validate(
    model: type[ModelT], value: Any, document: Document, at: Location = (), *, context: Mapping[str, Any] | None = None
) -> Validated[ModelT]:
    """Check `value`, which stands at `at` in `document`, against a model.

    Locations in `broken` count from `value`, not from the document.
    """
    problems: list[Problem] = []
    broken: set[Location] = set()
    for round_number in range(_ROUNDS):
        try:
            return Validated(
                model.model_validate(value, context=dict(context or {})), tuple(problems), frozenset(broken)
            )
        except ValidationError as failed:
            errors = _without_consequences(failed.errors(include_url=False))
        cut: set[Location] = set()
        for error in errors:
            location = _existing(value, error["loc"])
            cut.add(location)
            if round_number == 0:
                problems.append(_problem(error, model, document, at))
            broken.add(tuple(error["loc"]))
        if () in cut:
            break
        value = _without(value, cut)
    return Validated(None, tuple(problems), frozenset(broken))


def _without_consequences(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """A list is not too short because its entries are wrong."""
    places = [error["loc"] for error in errors]
    return [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(place != error["loc"] and place[: len(error["loc"])] == error["loc"] for place in places)
    ]


def _problem(error: ErrorDetails, model: type[BaseModel], document: Document, at: Location) -> Problem:
    location = (*at, *error["loc"])
    name = location[-1] if location else ""
    kind = error["type"]
    if kind == "extra_forbidden":
        known = _known_keys(model, error["loc"][:-1])
        return document.problem(location, f'unknown key "{name}"{did_you_mean(str(name), known)}', at_key=True)
    if kind == "missing":
        return document.problem(location[:-1], f'"{name}" is missing')
    return document.problem(location, f"{_path(error['loc'])}: {_message(error)}" if error["loc"] else _message(error))


def _message(error: ErrorDetails) -> str:
    kind, found = error["type"], error["input"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "enum":
        return f"must be {error['ctx']['expected']}, not {found!r}"
    if kind == "too_short":
        return f"needs at least {error['ctx']['min_length']}"
    wanted = _MESSAGES.get(kind) or error["msg"].replace("Input should be", "must be")
    if found is None:
        return f"{wanted}, not nothing"
    return f"{wanted}, not {found!r}" if isinstance(found, str | int | float) else wanted


def _path(location: tuple[str | int, ...]) -> str:
    """`nodes[0].ssh.port` for people."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _known_keys(model: type[BaseModel], location: tuple[str | int, ...]) -> tuple[str, ...]:
    """The keys of the model that stands at a location below `model`."""
    current: Any = model
    for part in location:
        inner = _model_in(current)
        if isinstance(part, str) and inner is not None:
            current = next(
                (info.annotation for name, info in inner.model_fields.items() if part in (name, info.alias)), None
            )
    found = _model_in(current)
    if found is None:
        return ()
    return tuple(info.alias or name for name, info in found.model_fields.items())


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation (a model, a container of models, an optional one) speaks of."""
    if isinstance(annotation, type) and not typing.get_args(annotation):  # tuple[X, ...] is a type as well
        return annotation if issubclass(annotation, BaseModel) else None
    for argument in typing.get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None


def _existing(value: Any, location: tuple[str | int, ...]) -> Location:
    """The longest part of a location that exists in `value`: the thing to put aside."""
    reached: list[str | int] = []
    for part in location:
        inside = isinstance(value, dict) and part in value
        inside = inside or (isinstance(value, tuple) and isinstance(part, int) and part < len(value))
        if not inside:
            break
        value = value[part]
        reached.append(part)
    return tuple(reached)


def _without(value: Any, cut: set[Location], at: Location = ()) -> Any:
    """A copy of plain values with some locations left out."""
    if isinstance(value, dict):
        return {key: _without(item, cut, (*at, key)) for key, item in value.items() if (*at, key) not in cut}
    if isinstance(value, tuple):
        return tuple(_without(item, cut, (*at, i)) for i, item in enumerate(value) if (*at, i) not in cut)
    return value
