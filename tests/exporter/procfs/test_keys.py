import pytest

from exporter.procfs.keys import Key, parse_keys
from exporter.procfs.read import ParseError

LINE = b"2f9e1c3a I--Q---     1   3d 3f010000  4242  4242 user      krb_ccache:primary: 12\n"


def test_a_key_and_its_description_without_the_summary():
    assert parse_keys(LINE) == (Key(4242, "user", "krb_ccache:primary"),)
    assert parse_keys(b"") == ()


def test_a_description_with_a_line_break_hides_no_other_key():
    """Anybody can name a key so: it must not keep the others from being read."""
    broken = LINE.replace(b"krb_ccache:primary", b"a\nb\n\nc")
    assert [key.uid for key in parse_keys(broken + LINE)] == [4242, 4242]


def test_what_is_no_list_of_keys():
    with pytest.raises(ParseError):
        parse_keys(b"Permission denied\n")
