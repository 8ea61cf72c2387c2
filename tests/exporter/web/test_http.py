"""The shortcut for repeated requests gives what h11 gives, and nothing that comes breaks it."""

import time
from http import HTTPStatus
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.web.answers import accepts_gzip, text
from exporter.web.http import Event, Http, Left, Refused

ANSWER = text(HTTPStatus.OK, "fine", (b"X", b"y"))
NOT_ALLOWED = text(HTTPStatus.METHOD_NOT_ALLOWED, "no")

REQUESTS = (
    b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\nAccept-Encoding: gzip\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nab",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
)


class Talk:
    """What was understood and said, and how it ended. Each answer is given as soon as its request is there."""

    def __init__(self, pieces, *, shortcut):
        self.http = Http(12 << 10, 1 << 10)
        self.understood, self.said, self.end = [], b"", None
        for piece, at_once in pieces:
            if not shortcut:
                self.http._usual = None
            self.http.feed(piece)
            try:
                if at_once:
                    self.proceed()
            except (Left, Refused) as why:
                self.end = repr(why)
            if self.end is not None:
                return

    def result(self):
        return self.understood, self.said, self.end

    def proceed(self):
        while self.http.begun and self.end is None:
            got = self.http.take()
            if got is Event.MORE:
                return
            if got is Event.CONTINUE:
                self.said += self.http.go_on()
            elif got is Event.OVER:
                self.end = "over"
            else:
                self.answer(got)

    def answer(self, request):
        self.understood.append(request)
        chosen = ANSWER if request.method in (b"GET", b"HEAD") else NOT_ALLOWED
        self.said += self.http.begin(chosen, ((b"Z", b"z"),), last=False)
        if request.method != b"HEAD":
            self.said += self.http.body(chosen.content)
        if not self.http.end():
            self.end = "closed"


@st.composite
def conversations(draw):
    """Few different pieces, so that they repeat: requests whole, twice, halves; and whether to look at once."""
    requests = draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=2))
    pieces = []
    for whole in requests:
        head, tail = whole[:10], whole[10:]
        pieces += [whole, whole, whole, whole + whole, head, tail, whole + head, tail + whole]
    end = [[], [(b"", True)]]
    return draw(st.lists(st.tuples(st.sampled_from(pieces), st.sampled_from([True, True, False])), max_size=8)) + draw(
        st.sampled_from(end)
    )


@given(conversations())
@settings(max_examples=300, deadline=None)
@example([(REQUESTS[0] * 2, True)] * 2)
@example([(REQUESTS[0][:10], True), (REQUESTS[0][10:], True), (REQUESTS[0][10:], True)])
@example([(REQUESTS[0], True), (REQUESTS[1], False), (REQUESTS[0], True)])
@example([(REQUESTS[8], True), (REQUESTS[8], True)])
def test_the_shortcut_changes_nothing(pieces):
    """Requests repeated or not, whole or in pieces, together or apart: the same understanding, the same bytes out."""
    with patch.object(time, "gmtime", return_value=time.gmtime(0)):
        assert Talk(pieces, shortcut=True).result() == Talk(pieces, shortcut=False).result()


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(REQUESTS)), max_size=6), st.integers(0, 1000))
def test_noise_is_refused_and_nothing_else_happens(pieces, cut_at):
    """Whatever comes: an answer, the door, or the wait for more."""
    Talk([(piece, True) for piece in (*pieces, b"".join(pieces)[:cut_at]) if piece] + [(b"", True)], shortcut=True)


def test_a_repeated_request_is_not_parsed_again(monkeypatch):
    """That is what the shortcut is for."""
    http = Http(12 << 10, 1 << 10)

    def once():
        http.feed(REQUESTS[0])
        request = http.take()
        http.begin(ANSWER, (), last=False)
        http.body(ANSWER.content)
        assert http.end()
        return request

    first = once()
    monkeypatch.setattr(http._h11, "receive_data", None)
    assert [once() for _ in range(3)] == [first] * 3


def test_the_last_answer_ends_a_repeated_request_too():
    """`last` is heeded on either way."""
    for times in (1, 2):
        http = Http(12 << 10, 1 << 10)
        for number in range(times):
            http.feed(REQUESTS[0])
            http.take()
            head = http.begin(ANSWER, (), last=number == times - 1)
            http.body(ANSWER.content)
            assert http.end() == (number < times - 1)
        assert b"Connection: close" in head


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (b"", False),
        (b"gzip", True),
        (b"deflate, gzip;q=1.0, *;q=0.5", True),
        (b"GZIP ; q=0.001", True),
        (b"x-gzip", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000, *", False),
        (b"*", True),
        (b"*;q=0", False),
        (b"identity", False),
        (b"gzipped, br", False),
        (b"gzip;q=nonsense", True),
    ],
)
def test_accept_encoding(header, accepted):
    """RFC 9110, 12.5.3: weights, wildcards, zero."""
    assert accepts_gzip(header) is accepted
