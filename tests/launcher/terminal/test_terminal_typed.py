"""What was typed and not read goes from one pseudoterminal to another: byte for byte, and still to be edited."""

import os
import random
import termios
import tty

import pytest

from offloader.launcher.terminal import typed


@pytest.fixture
def terminals():
    """Makes pairs: master, slave; neither waits."""
    made = []

    def make():
        pair = os.openpty()
        made.extend(pair)
        for one in pair:
            os.set_blocking(one, False)
        return pair

    yield make
    for one in made:
        os.close(one)


def reads(slave):
    """What each read of the program gives, until there is nothing."""
    found = []
    while True:
        try:
            found.append(os.read(slave, 1 << 16))
        except BlockingIOError:
            return found


def settled(master, slave):
    """The kernel has worked on all that was typed."""
    typed.copy(master)
    return termios.tcgetattr(slave)


def test_lines_ends_of_input_and_a_line_that_is_still_edited(terminals):
    master, slave = terminals()
    modes = termios.tcgetattr(slave)
    os.write(master, b"one\rtw\x7fwo\n\x04abc\x04par\x16\x03tial")
    found, keys, output = typed.copy(master)
    assert found == [
        ("line", b"one\n"),
        ("line", b"two\n"),
        ("end", b""),
        ("line", b"abc"),
        ("begun", b"par\x03tial"),
    ]
    assert keys == b""
    assert output.startswith(b"one\r\n")
    assert termios.tcgetattr(slave) == modes
    other, its_slave = terminals()
    typed.give(other, typed.load(typed.save(found)))
    os.write(other, b"\x7f\x7f\x7f.\n")
    for end, end_slave in ((master, slave), (other, its_slave)):
        if end is master:
            os.write(end, b"\x7f\x7f\x7f.\n")
        settled(end, end_slave)
        assert reads(end_slave) == [b"one\n", b"two\n", b"", b"abc", b"par\x03t.\n"]


def test_copied_it_is_still_there_and_nothing_of_that_shows(terminals):
    master, slave = terminals()
    os.write(master, b"first\nsecond")
    found, _, output = typed.copy(master)
    assert output == b"first\r\nsecond"
    assert typed.copy(master) == (found, b"", b"")
    os.write(master, b"\n")
    settled(master, slave)
    assert reads(slave) == [b"first\n", b"second\n"]


def test_in_raw_mode_every_byte_is_itself(terminals):
    master, slave = terminals()
    tty.setraw(slave)
    data = bytes(range(256)) * 4
    os.write(master, data)
    found, keys, output = typed.copy(master)
    assert (found, keys, output) == ([("begun", data)], b"", b"")
    other, its_slave = terminals()
    tty.setraw(its_slave)
    typed.give(other, found)
    assert b"".join(reads(its_slave)) == b"".join(reads(slave)) == data


@pytest.mark.parametrize("seed", range(10))
def test_a_line_may_hold_anything(terminals, seed):
    """Also what has a meaning when it is typed: it was typed behind Ctrl-V."""
    chance = random.Random(seed)
    data = chance.randbytes(chance.randrange(1500))
    master, slave = terminals()
    os.write(master, b"".join(b"\x16" + bytes([one]) for one in data))
    found, _, _ = typed.copy(master)
    other, its_slave = terminals()
    typed.give(other, found)
    for end in (master, other):
        os.write(end, b"\n")
    settled(master, slave)
    settled(other, its_slave)
    assert reads(its_slave) == reads(slave)


def test_more_than_the_kernel_takes_at_once_stays_in_order(terminals):
    master, slave = terminals()
    modes = termios.tcgetattr(slave)
    modes[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    lines = [b"line %05d\n" % number for number in range(6000)]
    data, written = b"".join(lines), 0
    try:
        while written < len(data):
            written += os.write(master, data[written : written + 4096])
    except BlockingIOError:
        assert written > 4096
    found, keys, output = typed.copy(master)
    assert output == b""
    assert b"".join(piece for _, piece in found) + keys == data[:written]
    keys, seen = keys + data[written:], b""
    while len(seen) < len(data):
        seen += b"".join(reads(slave))
        try:
            keys = keys[os.write(master, keys[:4096]) :]
        except BlockingIOError:
            continue
    assert seen == data


@pytest.mark.parametrize("first", range(3496, 3502))
@pytest.mark.parametrize("second", [b"second\n", b"second\x04", b"\x04"])
def test_where_it_is_divided_no_end_of_input_is_made_or_lost(terminals, first, second):
    master, slave = terminals()
    os.write(master, b"a" * first + b"\n" + second + b"third\n")
    found, keys, _ = typed.copy(master)
    other, its_slave = terminals()
    typed.give(other, typed.load(typed.save(found)))
    for end in (master, other):
        os.write(end, keys)
    line = {b"second\n": b"second\n", b"second\x04": b"second", b"\x04": b""}[second]
    assert reads(its_slave) == reads(slave) == [b"a" * first + b"\n", line, b"third\n"]


def test_output_that_was_stopped_goes_on(terminals):
    """Ctrl-S does not go along with a move: without output nobody could tell what has arrived."""
    master, _ = terminals()
    os.write(master, b"\x13typed")
    found, _, output = typed.copy(master)
    assert found == [("begun", b"typed")]
    assert b"typed" in output + typed.copy(master)[2]


def test_nonsense_is_no_input():
    with pytest.raises(ValueError, match="no piece"):
        typed.load([["word", ""]])
    with pytest.raises(ValueError, match=r"base64|padding"):
        typed.load([["line", "?"]])
    with pytest.raises(ValueError, match="more than"):
        typed.load(typed.save([("line", b"much" * 1000)]))
