"""YAML with places: a strict subset, every problem with line and column."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offloader.config.document import MAX_BYTES, Place, parse_document, read_document
from offloader.errors import ConfigError


def problems(text):
    return [str(problem) for problem in parse_document(text, "f").problems]


@pytest.mark.parametrize(
    "written",
    [
        "on",
        "off",
        "yes",
        "no",
        "1:30",
        "010",
        "0x1f",
        "1_000",
        "2023-01-01",
        "True",
        ".inf",
        "trueish",
        "nullable",
        "nope/*.yml",
    ],
)
def test_yaml_1_1_traps_stay_text(written):
    """`on` is not True, `1:30` not 90, `010` not 8."""
    assert parse_document(f"key: {written}", "f").value == {"key": written}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ('"12"', "12"),
        ("'true'", "true"),
    ],
)
def test_what_is_not_text(written, value):
    assert parse_document(f"key: {written}", "f").value == {"key": value}


def test_duplicate_keys_are_problems_with_both_lines():
    assert problems("a: 1\nb:\n  c: 1\n  c: 2\n") == ['f:4:3: "c" is given twice (first in line 3)']


def test_aliases_anchors_and_tags_are_refused_without_being_followed():
    text = "a: &x [1]\nb: *x\nc: !!python/object/apply:os.system [id]\n"
    found = problems(text)
    assert [line.partition(": ")[0] for line in found] == ["f:1:4", "f:2:4", "f:3:4"]


def test_an_alias_to_itself_ends():
    assert problems("a: &a [*a]")


def test_keys_must_be_text():
    assert problems("? [1, 2]\n: 3\n") == ["f:1:3: a key must be text"]


@pytest.mark.parametrize(
    "text", ["a: [", "a: b: c", "\t- x", 'x: "', "a: 1\n---\nb: 2", "[" * 5000, "a: \x00", "{a: [1, 2}", "*x: *x: "]
)
def test_no_yaml_at_all_is_one_error_with_a_place(text):
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "f")
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("f:")


@given(st.text())
def test_any_text_gives_a_document_or_a_config_error(text):
    with contextlib.suppress(ConfigError):
        parse_document(text, "f")


def test_places_of_values_keys_and_what_is_missing():
    document = parse_document("a:\n  b: [x, {c: 1}]\n", "f")
    assert document.place(("a", "b", 1, "c")) == Place(2, 14)
    assert document.key_place(("a", "b")) == Place(2, 3)
    assert document.place(("a", "b", 7, "nothing", "there")) == Place(2, 6)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("k: abcdef", Place(1, 6)),
        ('k: "abcdef"', Place(1, 7)),
        ("k: |\n    abcdef\n", Place(2, 7)),
        ("k:\n  |\n  abcdef", Place(3, 5)),
    ],
)
def test_places_inside_texts(text, place):
    """Column 3 of an expression is found in plain, quoted and literal form."""
    assert parse_document(text, "f").place_in_text(("k",), 1, 3) == place


def test_a_place_inside_a_folded_text_is_the_texts():
    assert parse_document("k: >-\n  abc\n  def\n", "f").place_in_text(("k",), 1, 6) == Place(1, 4)


def test_files_that_cannot_be_read_say_why(tmp_path):
    for path, reason in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (_written(tmp_path / "latin", "ok: 1\nname: caf\xe9".encode("latin-1")), ":2:10: not UTF-8"),
        (_written(tmp_path / "large", b" " * (MAX_BYTES + 1)), "larger than 1 MiB"),
    ):
        with pytest.raises(ConfigError, match=reason):
            read_document(path)


def _written(path, content):
    path.write_bytes(content)
    return path
