"""The parts of the stub that need no terminal: bounded output, frames, ends."""

import os

import pytest

from offloader.terminal.endpoint import Ended
from offloader.terminal.frames import LIMIT_BYTES, Frames, end_of, frame, words_of
from offloader.terminal.spool import Spool


def test_kept_output_is_bounded_and_it_is_the_newest(tmp_path):
    spool = Spool(tmp_path / "output", limit=100)
    for number in range(100):
        spool.append(b"%08d\n" % number)
    kept = spool.content()
    assert 50 <= len(kept) <= 100
    assert kept.endswith(b"00000099\n")
    assert spool.left_out + len(kept) == 900
    spool.append(b"x" * 1000)
    assert spool.content() == b"x" * 100
    assert (tmp_path / "output").stat().st_mode & 0o777 == 0o600
    spool.close()


def test_frames_come_out_as_they_went_in_however_they_are_cut():
    sent = [(b"k", b""), (b"o", os.urandom(1000)), (b"e", b"exit 3")]
    raw = b"".join(frame(kind, payload) for kind, payload in sent)
    for step in (1, 7, len(raw)):
        frames = Frames()
        came = [one for start in range(0, len(raw), step) for one in frames.feed(raw[start : start + step])]
        assert came == sent
    with pytest.raises(ValueError, match="a frame of"):
        list(Frames().feed(frame(b"o", b"x" * (LIMIT_BYTES + 1))))


@pytest.mark.parametrize(
    ("ended", "status"), [(Ended(exit_code=0), 0), (Ended(exit_code=7), 7), (Ended(signal=9), 137)]
)
def test_an_end_is_told_and_counted_as_shells_do(ended, status):
    assert ended.status == status
    assert end_of(words_of(ended)) == ended


def test_an_end_that_makes_no_sense_is_none():
    for words in (b"", b"gone 3", b"exit x"):
        with pytest.raises(ValueError, match=r"is no end|invalid literal"):
            end_of(words)
