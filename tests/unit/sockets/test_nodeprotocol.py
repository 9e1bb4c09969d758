from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.sockets import node_protocol
from entrypoint.sockets.node_protocol import (
    Decoder,
    decode,
    encode,
    is_launcher,
    parse_query,
)
from entrypoint.sockets.sockaddr import Asked

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@given(st.lists(JSON, max_size=8), st.data())
def test_messages_survive_any_fragmentation(messages, data):
    stream = b"".join(encode(message) for message in messages)
    decoder, lines = Decoder(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        lines += decoder.feed(stream[:cut])
        stream = stream[cut:]
    assert [decode(line) for line in lines] == messages


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_are_survived_and_bounded(pieces):
    decoder = Decoder(at_most=16)
    for piece in pieces:
        for line in decoder.feed(piece):
            assert len(line) <= 16 and b"\n" not in line
            decode(line)


def test_a_line_that_is_too_long_is_dropped_and_the_next_is_read():
    decoder = Decoder(at_most=8)
    assert decoder.feed(b'"1"\n' + b"x" * 50) == [b'"1"']
    assert decoder.feed(b"x" * 50 + b'\n"2"\n') == [b'"2"']
    assert decoder.dropped == 1


def test_deep_nesting_is_no_message():
    assert decode(b"[" * 4000) is None
    assert decode(b'{"cmd":"NODE_' + b"[" * 100_000) is None


@given(JSON, JSON, JSON, JSON, JSON)
def test_any_query_is_parsed_or_unknown(address, port, of_type, fd, flags):
    message = {
        "address": address, "port": port, "addressType": of_type, "fd": fd, "flags": flags,
    }  # fmt: skip
    query = parse_query(message)
    assert query.kind in ("stream", "datagram", "fd", "unknown")
    assert (query.asked is not None) == (query.kind in ("stream", "datagram"))


@pytest.mark.parametrize(
    ("message", "kind", "asked"),
    [
        ({"address": None, "port": 80, "addressType": 4}, "stream", Asked("inet6", "::", 80)),
        ({"address": "::1", "port": 80, "addressType": 6}, "stream", Asked("inet6", "::1", 80)),
        (
            {"address": "10.0.0.1", "port": 80, "addressType": 4},
            "stream",
            Asked("inet", "10.0.0.1", 80),
        ),
        ({"address": "/a", "port": -1, "addressType": -1}, "stream", Asked("unix", path="/a")),
        ({"address": "\0a", "port": -1, "addressType": -1}, "stream", Asked("unix", path="@a")),
        (
            {"address": "/srv/\0a/b", "port": -1, "addressType": -1},
            "stream",
            Asked("unix", path="@a/b"),
        ),
        (
            {"address": None, "port": 9, "addressType": "udp4"},
            "datagram",
            Asked("inet", "0.0.0.0", 9),
        ),
        ({"address": None, "port": None, "addressType": None, "fd": 3}, "fd", None),
        ({"address": "localhost", "port": 80, "addressType": 4}, "unknown", None),
        ({"address": None, "port": 65536, "addressType": 4}, "unknown", None),
        ({}, "unknown", None),
    ],
)
def test_queries(message, kind, asked):
    query = parse_query({"seq": 4, "index": 0, **message})
    assert (query.kind, query.asked, query.seq) == (kind, asked, 4)


def test_an_answer_has_what_node_looks_for():
    query = parse_query({"seq": 7, "address": None, "port": 80, "addressType": 4, "index": 1})
    wrapped = node_protocol.with_handle(node_protocol.answer(query), query.kind)
    line = encode(wrapped)
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "cmd": "NODE_HANDLE",
        "type": "net.Native",
        "msg": {"cmd": "NODE_CLUSTER", "errno": 0, "key": ":80:4::1", "ack": 7, "data": None},
    }


@pytest.mark.parametrize(
    ("line", "launcher"),
    [
        ("npm start", True),
        ("npx serve", True),
        ("/usr/bin/yarn run x", True),
        ("node /usr/lib/node_modules/npm/bin/npm-cli.js start", True),
        ("node server.js", False),
        ("serve -l 1", False),
        ("node npm", False),
    ],
)
def test_launchers(line, launcher):
    assert is_launcher(tuple(line.split())) == launcher
