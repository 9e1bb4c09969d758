"""The head of an HTTP answer, however it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.checks.connections import HEAD_AT_MOST, status_of


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", (200, "OK")),
        (b"HTTP/1.0 404 Not Found\r\n\r\nbody", (404, "Not Found")),
        (b"HTTP/1.1 204\r\n\r\n", (204, "")),
        (b"HTTP/1.1 503 Down\n\n", (503, "Down")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", (200, "OK")),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 302 Found\r\n\r\n",
            (302, "Found"),
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n", (0, "")),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", (0, "")),
        (b"HT", (0, "")),
        (b"", (0, "")),
    ],
)
def test_status_and_reason_once_the_head_is_whole(head, expected):
    assert status_of(head) == expected


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 " + b"x" * HEAD_AT_MOST,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * HEAD_AT_MOST,
    ],
)
def test_what_is_no_answer_is_said_to_be_none(head):
    with pytest.raises(ValueError, match="answer"):
        status_of(head)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_status_or_an_error(said):
    try:
        status, reason = status_of(b"HTTP/1." + said)
    except ValueError:
        return
    assert 0 <= status <= 999
    assert reason.isascii() or "\ufffd" in reason


@given(st.integers(0, 60))
def test_it_does_not_matter_in_how_many_pieces_it_comes(at):
    whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Oh no\r\nA: b\r\n\r\n"
    assert status_of(whole[:at]) in ((0, ""), (500, "Oh no"))
    assert status_of(whole) == (500, "Oh no")
