"""Sections of a YAML file with typed access by key; what is wrong is collected with its line, all of it."""

from collections.abc import Sequence
from pathlib import Path

import yaml

_TAG = "tag:yaml.org,2002:"
_TRUE = frozenset({"true", "yes", "on"})


class Problems:
    """What is wrong with a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, message: str) -> None:
        """Lines count from 1."""
        self._found.append((line, message))

    @property
    def lines(self) -> list[str]:
        """In the order of the file, as `FILE:LINE: MESSAGE`."""
        return [f"{self._path}:{line}: {message}" for line, message in sorted(set(self._found))]


class Section:
    """A mapping with known keys. A key without a value counts as absent, as it does for Go's reader.

    Getters return the default, after a problem was noted, for a value of the wrong kind.
    """

    def __init__(
        self, name: str, node: yaml.Node | None, known: Sequence[str], problems: Problems, line: int = 1
    ) -> None:
        self.line = line
        self._lines: dict[str, int] = {}
        self._name = name
        self._problems = problems
        self._nodes: dict[str, yaml.Node] = {}
        for key, value in _pairs(name, node, problems):
            if key.value not in known:
                problems.add(_line(key), f"{name}unknown key {key.value} (there are {', '.join(known)})")
            elif not _is(value, "null"):
                self._nodes[key.value] = value
                self._lines[key.value] = _line(key)

    def __contains__(self, key: str) -> bool:
        return key in self._nodes

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def problem(self, key: str, message: str) -> None:
        """Notes that the value of the key (absent: the section) is wrong."""
        self._problems.add(self._lines.get(key, self.line), f"{self._name}{key}: {message}")

    def text(self, key: str) -> str:
        """A scalar as it is written, "" if absent."""
        return self._scalar(key, ("str", "int", "float", "bool"), "text")

    def flag(self, key: str, *, default: bool) -> bool:
        """A boolean."""
        return self._scalar(key, ("bool",), "true or false").lower() in _TRUE if key in self else default

    def number(self, key: str) -> int:
        """A whole number from 0, 0 if absent."""
        value = self._scalar(key, ("int",), "a whole number")
        if value and not value.isdecimal():
            self.problem(key, "must be a whole number")
            return 0
        return int(value or 0)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of scalars, () if absent."""
        node = self._nodes.get(key)
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode) or not all(_is(item, "str", "int", "float") for item in node.value):
            self.problem(key, "must be a list of texts")
            return ()
        return tuple(item.value for item in node.value)

    def section(self, key: str, known: Sequence[str]) -> "Section":
        """The mapping below that key, empty if absent."""
        return Section(f"{key}: ", self._nodes.get(key), known, self._problems, self._lines.get(key, 1))

    def free(self, key: str) -> list[tuple[str, str, int]]:
        """A mapping of texts whose keys are the user's own: key, value, line."""
        name = f"{key}: "
        found = []
        for own, value in _pairs(name, self._nodes.get(key), self._problems):
            if _is(value, "str", "int", "float", "bool"):
                found.append((str(own.value), str(value.value), _line(own)))
            else:
                self._problems.add(_line(own), f"{name}{own.value}: must be text")
        return found

    def wrong(self, line: int, message: str) -> None:
        """Notes a problem of that line."""
        self._problems.add(line, message)

    def _scalar(self, key: str, kinds: tuple[str, ...], wanted: str) -> str:
        node = self._nodes.get(key)
        if node is None:
            return ""
        if not _is(node, *kinds):
            self.problem(key, f"must be {wanted}")
            return ""
        return str(node.value)


def top_section(text: str, known: Sequence[str], problems: Problems) -> Section:
    """The whole file; an empty one has an empty section."""
    node = None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:  # its own message shows an extract of the file
        mark = error.problem_mark or error.context_mark
        problems.add(1 if mark is None else mark.line + 1, f"not YAML: {error.problem or error.context}")
    except yaml.YAMLError:
        problems.add(1, "not YAML: it has characters that must not be there")
    return Section("", node, known, problems)


def _pairs(name: str, node: yaml.Node | None, problems: Problems) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    if node is None:
        return []
    if not isinstance(node, yaml.MappingNode):
        problems.add(_line(node), f"{name}must be a mapping")
        return []
    seen: set[str] = set()
    found = []
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            problems.add(_line(key), f"{name}a key must be text")
        elif key.value in seen:
            problems.add(_line(key), f"{name}{key.value}: given twice")
        else:
            seen.add(key.value)
            found.append((key, value))
    return found


def _is(node: yaml.Node, *kinds: str) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(_TAG) in kinds


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
