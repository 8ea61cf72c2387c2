"""YAML text → plain values that remember where they stood.

A subset of YAML on purpose. Only `true`, `false`, `null`, decimal integers and decimal fractions are not text, so that
`on`, `1:30` and `010` stay what was written (YAML 1.1 reads True, 90 and 8). Keys must be text and unique. Aliases
and tags are refused: an alias can recurse or grow a small file into gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml
from yaml.composer import Composer
from yaml.error import Mark
from yaml.events import AliasEvent, NodeEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from offloader.config.problems import Problem, raise_for

__all__ = ["Document", "Location", "Place", "parse_document", "read_document"]

Location: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the root, as pydantic gives them."""

MAX_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 40


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: mappings are dicts, sequences tuples, scalars str, int, float, bool or None."""

    file: str
    value: Any
    lines: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    _values: Mapping[Location, Node] = field(default_factory=dict, repr=False)
    _keys: Mapping[Location, Node] = field(default_factory=dict, repr=False)

    def place(self, location: Location) -> Place:
        """Where the value at `location` stands, or the nearest thing around it that exists."""
        for end in range(len(location), -1, -1):
            if (node := self._values.get(location[:end])) is not None:
                return _start(node)
        return Place(1, 1)

    def key_place(self, location: Location) -> Place:
        """Where the key at `location` stands; for an entry of a list, the entry."""
        node = self._keys.get(location)
        return self.place(location) if node is None else _start(node)

    def has(self, location: Location) -> bool:
        """Whether the file says anything at `location`."""
        return location in self._values

    def is_mapping(self, location: Location) -> bool:
        """Whether there is a mapping at `location`."""
        return isinstance(self._values.get(location), MappingNode)

    def place_in_text(self, location: Location, line: int, column: int) -> Place:
        """Where line and column (from 1) *of the text* at `location` stand in the file.

        Exact for texts on one line and for literal blocks; otherwise the place of the text.
        """
        node = self._values.get(location)
        if not isinstance(node, ScalarNode):
            return self.place(location)
        start = _start(node)
        if node.style == "|":
            block = self.lines[start.line :]
            indent = next((len(row) - len(row.lstrip(" ")) for row in block if row.strip()), 0)
            return Place(start.line + line, indent + column)
        if node.start_mark.line == node.end_mark.line and line == 1:
            return Place(start.line, start.column + column - (0 if node.style else 1))
        return start

    def problem(self, location: Location, message: str, *, at_key: bool = False) -> Problem:
        """A problem with the value (or the key) at `location`."""
        place = self.key_place(location) if at_key else self.place(location)
        return Problem(self.file, place.line, place.column, message)


def read_document(path: Path) -> Document:
    """Parse a file.

    Raises:
        ConfigError: it cannot be read, is too large, not UTF-8, or no YAML. Duplicate keys, aliases and the like are
            in `Document.problems` instead, so that they are reported together with what else is wrong.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise_for([Problem(name, 1, 1, f"cannot be read: {error.strerror}")])
        raise AssertionError from error  # raise_for always raises here
    if len(raw) > MAX_BYTES:
        raise_for([Problem(name, 1, 1, f"larger than {MAX_BYTES >> 20} MiB")])
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise_for([Problem(name, line, column, "not UTF-8 text")])
        raise AssertionError from error
    return parse_document(text, name)


def parse_document(text: str, file: str) -> Document:
    """Parse text; `file` is what problems call it. Raises ConfigError when it is no YAML at all."""
    try:
        loader = _Loader(text, file)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise_for([Problem(file, *place, f"no valid YAML: {message}")])
        raise AssertionError from error
    except (yaml.reader.ReaderError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition("\n")[0]
        raise_for([Problem(file, 1, 1, f"no valid YAML: {reason}")])
        raise AssertionError from error
    builder = _Builder(file, loader.problems)
    value = None if node is None else builder.build(node, ())
    return Document(file, value, tuple(text.splitlines()), tuple(builder.problems), builder.values, builder.keys)


def _mark(event: NodeEvent) -> Mark:
    assert isinstance(event.start_mark, Mark)  # the pure Python loader's marks always are
    return event.start_mark


def _start(node: Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


class _Resolver(BaseResolver):
    """Plain scalars that are not text: YAML 1.2's core schema, decimal only."""


_Resolver.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)\Z"), list("tf"))
_Resolver.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:null|~|)\Z"), ["n", "~", ""])
_Resolver.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]{0,17})\Z"), list("-0123456789"))
_Resolver.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?(e[-+]?[0-9]{1,2})?\Z"),
    list("-0123456789"),
)


class _Loader(Reader, Scanner, Parser, Composer, _Resolver):
    """PyYAML up to nodes; nothing is ever constructed from a tag."""

    def __init__(self, text: str, file: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _Resolver.__init__(self)
        self.file = file
        self.depth = 0
        self.problems: list[Problem] = []

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """One node; an alias becomes null and a problem."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, AliasEvent):
            self._refuse(event, f"an alias (*{event.anchor}) is not allowed here; write the value out")
            self.get_event()  # type: ignore[no-untyped-call]
            return ScalarNode("tag:yaml.org,2002:null", "", _mark(event), _mark(event))
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self._refuse(event, f"an anchor (&{event.anchor}) is not allowed here")
            event.anchor = None
        if getattr(event, "tag", None) not in (None, "!"):
            self._refuse(event, f"a tag ({event.tag}) is not allowed here")
            event.tag = None
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise RecursionError
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refuse(self, event: NodeEvent, message: str) -> None:
        mark = _mark(event)
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, message))


class _Builder:
    """Nodes → values, keeping each value's and each key's node by location."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems
        self.values: dict[Location, Node] = {}
        self.keys: dict[Location, Node] = {}

    def build(self, node: Node, at: Location) -> Any:
        """The plain value of a node."""
        self.values[at] = node
        if isinstance(node, MappingNode):
            return self._mapping(node, at)
        if isinstance(node, SequenceNode):
            return tuple(self.build(item, (*at, index)) for index, item in enumerate(node.value))
        return _scalar(node)

    def _mapping(self, node: MappingNode, at: Location) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _start(key_node)
            if not isinstance(key_node, ScalarNode):
                self.problems.append(Problem(self.file, place.line, place.column, "a key must be text"))
                continue
            key = key_node.value
            if key in built:
                first = _start(self.keys[*at, key])
                message = f'"{key}" is given twice (first in line {first.line})'
                self.problems.append(Problem(self.file, place.line, place.column, message))
                continue
            self.keys[*at, key] = key_node
            built[key] = self.build(value_node, (*at, key))
        return built


def _scalar(node: Node) -> str | int | float | bool | None:
    text: str = node.value
    match node.tag.rpartition(":")[2]:
        case "bool":
            return text == "true"
        case "null":
            return None
        case "int":
            return int(text)
        case "float":
            return float(text)
        case _:
            return text
