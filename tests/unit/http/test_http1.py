"""The request parser: what is accepted, what is refused, and that pieces do not matter."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrypoint.http import http1
from entrypoint.http.http1 import (
    Ended,
    Misuse,
    Refused,
    Request,
    RequestParser,
)


def events_of(pieces, *, end=True):
    """Everything that comes out when each request is answered as it comes."""
    parser = RequestParser()
    events = []

    def drain():
        while (event := parser.next_event()) is not None:
            events.append(event)
            if isinstance(event, Request):
                parser.answered()

    for piece in pieces:
        if piece:
            parser.receive(piece)
            drain()
    if end:
        parser.receive(b"")
        drain()
    return events


def only(data):
    (event, *rest) = events_of([data], end=False)
    assert not rest
    return event


def get(target, fields="Host: a\r\n", version="HTTP/1.1", method="GET"):
    return f"{method} {target} {version}\r\n{fields}\r\n".encode("latin-1")


# -- what is accepted ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/livez", ("livez",), ()),
        ("/", ("",), ()),
        ("/readyz/api", ("readyz", "api"), ()),
        ("/readyz/a%2Fb", ("readyz", "a/b"), ()),
        ("/readyz/%C3%A9", ("readyz", "é"), ()),
        ("/readyz?verbose", ("readyz",), (("verbose", ""),)),
        (
            "/readyz?exclude=a+b&&exclude=c%26d",
            ("readyz",),
            (("exclude", "a b"), ("exclude", "c&d")),
        ),
        ("http://host:9400/livez?verbose=1", ("livez",), (("verbose", "1"),)),
        ("HTTP://host", ("",), ()),
        ("http://host?verbose", ("",), (("verbose", ""),)),
        ("*", ("*",), ()),
        ("/a?b?c=/d", ("a",), (("b?c", "/d"),)),
    ],
)
def test_targets(target, path, query):
    assert only(get(target)) == Request("GET", path, query)


@pytest.mark.parametrize(
    ("version", "fields", "keeps"),
    [
        ("HTTP/1.1", "Host: a\r\n", True),
        ("HTTP/1.1", "Host: a\r\nConnection: Close\r\n", False),
        ("HTTP/1.1", "Host: a\r\nConnection: x, close\r\n", False),
        ("HTTP/1.0", "", False),
        ("HTTP/1.0", "Connection: keep-alive\r\n", True),
        ("HTTP/1.0", "Connection: keep-alive\r\nConnection: close\r\n", False),
        ("HTTP/1.9", "Host: a\r\n", True),
    ],
)
def test_which_connections_stay(version, fields, keeps):
    assert only(get("/livez", fields, version)).keep_alive is keeps


def test_line_feeds_alone_and_empty_lines_before_the_request_are_accepted():
    assert only(b"\r\n\nGET /livez HTTP/1.1\nHost: a\n\n") == Request("GET", ("livez",))


@pytest.mark.parametrize("field", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_body_is_announced_and_ends_the_connection(field):
    data = get("/livez", f"Host: a\r\n{field}\r\n") + b"hello" + get("/readyz")
    assert events_of([data]) == [
        Request("GET", ("livez",), has_body=True, keep_alive=False),
    ]


def test_an_empty_body_is_none():
    assert only(get("/livez", "Host: a\r\nContent-Length: 0\r\n")).has_body is False


def test_requests_of_one_packet_come_one_by_one():
    parser = RequestParser()
    parser.receive(get("/livez") + get("/readyz") + b"GET /st")
    assert parser.next_event() == Request("GET", ("livez",))
    assert parser.next_event() is None
    parser.answered()
    assert parser.next_event() == Request("GET", ("readyz",))
    parser.answered()
    assert parser.next_event() is None
    assert parser.begun
    parser.receive(b"")
    assert parser.next_event() == Ended(clean=False)


def test_the_end_after_a_request_is_clean():
    assert events_of([get("/livez")]) == [Request("GET", ("livez",)), Ended(clean=True)]
    assert events_of([]) == [Ended(clean=True)]


def test_closing_drops_the_rest():
    parser = RequestParser()
    parser.receive(get("/livez") * 2)
    assert isinstance(parser.next_event(), Request)
    parser.answered(close=True)
    assert parser.state == http1.CLOSED
    assert parser.buffered == 0
    assert parser.next_event() is None


# -- what is refused ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),  # the first bytes of a TLS hello
        (b"\x00", 400),
        (b"GET /livez\r\n", 400),
        (b"GET  /livez HTTP/1.1\r\n", 400),
        (b"GET /li\x80vez HTTP/1.1\r\n", 400),
        (b"GET /livez\x00 HTTP/1.1\r\n", 400),
        (b"GET /% HTTP/1.1\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\n", 400),
        (b"GET /livez HTTP/x.1\r\n", 400),
        (b"GET /livez HTTPS/1.1\r\n", 400),
        (b"GET /livez HTTP/1.1\rHost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"\r\n" * 9, 400),
        (get("/livez", ""), 400),
        (get("/livez", "Host: a\r\nHost: b\r\n"), 400),
        (get("/livez", "Host : a\r\n"), 400),
        (get("/livez", "Host: a\r\n folded\r\n"), 400),
        (get("/livez", "Host: a\r\nX\r\n"), 400),
        (get("/livez", "Host: a\r\nX: \x01\r\n"), 400),
        (get("/livez", "Host: a\r\nX: a\rb\r\n"), 400),
        (get("/livez", "Host: a\r\nContent-Length: -1\r\n"), 400),
        (get("/livez", "Host: a\r\nContent-Length:\r\n"), 400),
        (get("/livez", "Host: a\r\nContent-Length: 1, 2\r\n"), 400),
        (get("/livez", "Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n"), 400),
        (get("/livez", "Host: a\r\nContent-Length: " + "9" * 40 + "\r\n"), 400),
        (get("/livez", "Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400),
        (get("/" + "a" * http1.LINE_LIMIT), 414),
        (b"G" * (http1.LINE_LIMIT + 2), 414),
        (get("/livez", "Host: a\r\nX: " + "a" * http1.LINE_LIMIT + "\r\n"), 431),
        (get("/livez", "Host: a\r\n" + ("X: " + "a" * 1000 + "\r\n") * 17), 431),
        (get("/livez", "Host: a\r\n" + "X: a\r\n" * http1.FIELD_COUNT_LIMIT), 431),
        (get("/livez?" + "&".join("abc" * 1 for _ in range(200))), 400),
    ],
)
def test_refusals(data, status):
    event = only(data)
    assert isinstance(event, Refused)
    assert event.status == status
    assert event.reason
    # And whatever follows means nothing any more.
    assert events_of([data, get("/livez")]) == [event]


def test_limits_are_reached_exactly():
    target = "/" + "a" * (http1.LINE_LIMIT - len("GET / HTTP/1.1"))
    assert isinstance(only(get(target)), Request)
    fields = "Host: a\r\n" + "X: a\r\n" * (http1.FIELD_COUNT_LIMIT - 1)
    assert isinstance(only(get("/livez", fields)), Request)


def test_memory_is_bounded_by_one_line():
    parser = RequestParser()
    parser.receive(b"GET /livez HTTP/1.1\r\n")
    for _ in range(60):
        parser.receive(b"X: " + b"a" * 100 + b"\r\n")
        assert parser.next_event() is None
        assert parser.buffered == 0
    for _ in range(1000):
        parser.receive(b"a" * 1000)
        parser.next_event()
        assert parser.buffered <= http1.LINE_LIMIT + 1000


# -- the table ----------------------------------------------------------------------


def test_the_table_leads_to_states_that_it_has():
    for following in http1.TRANSITIONS.values():
        assert set(following.values()) <= set(http1.TRANSITIONS)


def test_answering_what_was_not_asked_is_misuse_and_changes_nothing():
    parser = RequestParser()
    with pytest.raises(Misuse):
        parser.answered(close=True)
    assert parser.state == http1.AWAITING
    parser.receive(get("/livez"))
    assert isinstance(parser.next_event(), Request)


# -- any bytes, in any pieces -------------------------------------------------------

SNIPPETS = st.sampled_from(
    [
        b"GET /livez HTTP/1.1\r\n",
        b"HEAD /readyz?verbose&exclude=a HTTP/1.0\r\n",
        b"Host: a\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"%41",
        b" ",
        b"\x16\x03\x01",
        b"a" * 8189,
        b"X: " + b"b" * 8180 + b"\r\n",
    ]
)
STREAMS = st.lists(SNIPPETS | st.binary(max_size=6), max_size=30).map(b"".join)


@given(STREAMS, st.data())
@example(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 3, None)
def test_any_bytes_in_any_pieces_mean_the_same(stream, data):
    whole = events_of([stream])
    if data is None:
        cuts = list(range(len(stream)))
    else:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    edges = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert events_of(pieces) == whole
    assert len(whole) >= 1
    # One by one, and for each of the states that may come last.
    assert all(isinstance(event, Request) for event in whole[:-1])


@given(STREAMS)
def test_byte_by_byte_means_the_same(stream):
    stream = stream[:400]
    assert events_of([stream[i : i + 1] for i in range(len(stream))]) == events_of([stream])
