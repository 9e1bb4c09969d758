"""Undo what the wrappers do and compare with what went in."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrypoint.logs import wrap
from entrypoint.logs.console import ConsoleWrapper, Style
from entrypoint.logs.layout import Flat, Keys

WHEN = "2026-01-02T03:04:05.678901Z"
ORIGIN = {"app": 'we"b', "instance": 2, "pid": 77, "stream": "stdout"}

# Bytes in which what needs care is frequent.
PIECES = st.sampled_from(
    [b"\n", b"\r\n", b"\0", b"\xff", b"\xc3", "é€😀".encode(), b'"', b"\\", b"{", b"}", b"{}\n",
     b'{"a":1}\n', b'\n{"app": 1, "x":[{}]} \r\n', b"{nope}\n", b"\x1b[31m", b"plain text ", b"\t",
     b"\x7f", b"\\u0000", b"\\n"]
)  # fmt: skip
DATA = st.lists(PIECES | st.binary(max_size=8), max_size=40).map(b"".join)


TEXT_KEYS = {"timestamp", "level", "event", *ORIGIN, "partial", "base64"}


def make() -> wrap.JsonWrapper:
    return wrap.JsonWrapper(Flat(Keys()).lines(*ORIGIN.values()))


def feed(wrapper, data, cuts, limit):
    made = []
    ends = [*sorted(c % (len(data) + 1) for c in cuts), len(data)]
    start = 0
    for end in ends:
        if end > start:
            made.append(wrapper.feed(data[start:end], WHEN, limit))
        start = end
    return b"".join([*made, wrapper.end(WHEN)])


def expected_object(line):
    """The object that a line is, or None: another way to say it than wrap.py's."""
    if line[:1] != b"{":
        return None
    try:
        value = json.loads(line.decode(), parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return None
    return value


def unwrap(records):
    """(line, record, is an object) of each line, parts joined."""
    assert records.endswith(b"\n") or not records
    parts = b""
    for text in records.split(b"\n")[:-1]:
        record = json.loads(text)
        if "event" in record and record.keys() <= TEXT_KEYS:
            assert {k: record[k] for k in ORIGIN} == ORIGIN
            assert record["timestamp"] == WHEN
            assert record["level"] == "info"
            if "base64" in record:
                exact = base64.b64decode(record["base64"], validate=True)
                assert record["event"] == exact.decode("utf-8", "replace")
            else:
                exact = record["event"].encode()
            parts += exact
            if "partial" not in record:
                yield parts, record
                parts = b""
        else:
            yield None, record
    assert parts == b"", "the last part of a line is not marked as one that goes on"


@given(DATA, st.lists(st.integers(0, 10_000), max_size=8), st.sampled_from([5, 16, 100, 1 << 20]))
@example(b"\xf0\x9f\x98\x80" * 10, [1, 2, 3], 5)
@example(b"a" * 16 + b"\n", [], 16)
@example(b"a" * 17, [16], 16)
def test_every_byte_comes_out_whatever_the_chunks(data, cuts, limit):
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()  # the stream ended with a newline, or was empty
    wrapper = make()
    got = list(unwrap(feed(wrapper, data, cuts, limit)))
    assert wrapper.held == 0
    assert len(got) == len(lines)
    for line, (exact, record) in zip(lines, got, strict=True):
        fields = expected_object(line) if len(line) <= limit else None
        if fields is None:
            assert exact == line
        else:
            ours = {f"pyinit_{k}" if k in fields else k: v for k, v in ORIGIN.items()}
            assert record == {"timestamp": WHEN, "level": "info", **fields, **ours}


@given(DATA, st.lists(st.integers(0, 10_000), max_size=8))
def test_the_chunks_make_no_difference(data, cuts):
    assert feed(make(), data, cuts, 64) == feed(make(), data, [], 64)


@given(DATA, st.lists(st.integers(0, 10_000), max_size=8))
def test_no_record_holds_a_newline_and_all_are_utf8(data, cuts):
    for text in feed(make(), data, cuts, 64).split(b"\n")[:-1]:
        assert isinstance(json.loads(text.decode()), dict)


@given(st.text(), st.integers(5, 20))
def test_a_character_is_never_cut(text, limit):
    for record in feed(make(), text.encode(), [], limit).splitlines():
        assert "base64" not in json.loads(record)


@given(DATA, st.lists(st.integers(0, 10_000), max_size=8))
def test_console_keeps_every_byte(data, cuts):
    style = Style(colour=False)
    records = feed(ConsoleWrapper("web", 0, "stdout", style, time=False), data, cuts, 16)
    joined = b""
    for line in records.split(b"\n")[:-1]:
        label, bar, text = line[:6], line[7:8], line[9:]
        assert label == b"web:0 "
        assert bar in (b"|", b">")
        joined += text + (b"\n" if bar == b"|" else b"")
    assert joined == data + (b"" if data.endswith(b"\n") or not data else b"\n")


def splice(line: bytes, keys: Keys | None = None) -> bytes:
    return wrap.JsonWrapper(Flat(keys or Keys()).lines("web", 0, 12, "stderr")).feed(
        line + b"\n", WHEN
    )


def test_an_object_keeps_its_own_bytes():
    got = splice(rb'{"msg":"caf\u00e9","n":1.50,"big":' + b"9" * 5000 + b"}")
    assert b'"n":1.50,"big":' + b"9" * 5000 + b',"app":"web"' in got


@pytest.mark.parametrize(
    "line",
    [b"{", b"{}}", b"{} {}", b"{nope}", b'{"a":NaN}', b'{"a":1}x', b'{"a":"\xff"}', b'{"a":"\t"}',
     b'{"a":1},{"b":2}', b"[{}]", b'"x"', b' {"a":1}', b'{"a":' * 100_000 + b"1" + b"}" * 100_000],
)  # fmt: skip
def test_what_only_looks_like_an_object_is_text(line):
    assert b'"event":"' in splice(line)


def test_a_worker_knows_its_own_time_and_level():
    got = splice(b'{"level":"error","timestamp":1,"msg":"x"}')
    assert got.count(b"level") == got.count(b"timestamp") == 1
    assert json.loads(got)["level"] == "error"


def test_a_worker_cannot_say_that_it_is_another():
    got = json.loads(splice(b'{"app":"other","pyinit_app":"odd","p\\u0069d":1}'))
    assert got["app"] == "other"
    assert got["pyinit_app"] == "odd"
    assert got["pyinit_pyinit_app"] == "web"
    assert (got["pid"], got["pyinit_pid"]) == (1, 12)


def test_keys_can_be_named_otherwise():
    keys = Keys(timestamp="time", level="severity", event="message")
    text = json.loads(splice(b"hello", keys))
    assert list(text)[:3] == ["time", "severity", "message"]
    assert json.loads(splice(b'{"time":1}', keys)) == {
        "severity": "info", "time": 1, "app": "web", "instance": 0, "pid": 12, "stream": "stderr",
    }  # fmt: skip


def test_a_hundred_megabytes_without_a_newline_are_held_in_one():
    wrapper = make()
    chunk = b"x" * 32_768
    total = 0
    for _ in range(3200):
        total += wrapper.feed(chunk, WHEN).count(b"x")
        assert wrapper.held <= wrap.LINE_LIMIT
    total += wrapper.end(WHEN).count(b"x")
    assert total == 3200 * len(chunk)


def test_the_last_part_of_a_cut_line_is_no_object_of_its_own() -> None:
    line = b"x" * 9 + b"{}"
    wrapper = make()
    records = wrapper.feed(line + b'\n{"a":1}\n', WHEN, 9).splitlines()
    written = [json.loads(record) for record in records]
    assert [one["event"] for one in written[:2]] == ["x" * 9, "{}"]
    assert written[0]["partial"] is True
    assert written[2]["a"] == 1


LONE = [rb'{"a":"\ud800"}', rb'{"\uDFFF":1}', rb'{"a":{"b":["\ud83d\ud83d\ude00"]}}']


@pytest.mark.parametrize("line", LONE)
def test_half_a_surrogate_pair_is_text(line):
    for data in (line + b"\n", b'{"n":1}\n' + line + b"\n"):
        written = make().feed(data, WHEN).splitlines()
        assert json.loads(written[-1])["event"] == line.decode()


def test_whole_pairs_and_escaped_backslashes_are_objects():
    for line in (rb'{"a":"\ud83d\ude00"}', rb'{"a":"C:\\ud"}'):
        assert json.loads(splice(line))["a"] == json.loads(line)["a"]


TRICKS = [
    b'{"a":[{}\n{}]}',
    b'{"a":"}\n{"}',
    b'{"a":1}\n {"b":2}',
    b' {"a":1}\n{"b":2}',
    b'{}\n{"a":1}',
    b'{"a":1},{"b":2}\n{"c":1}',
    b"[{}\n{}]\n{}",
    b'{"a":1}\r\n{"b":2}\r',
    b'{"a":["-- pyinit --"]}\n{"b":1}',
    b'{"a":\n{}}',
    b'{"a":[{},"-- pyinit --"\n{}]}',
    b'{"a":1}\n\n{"b":2}',
    b'{"a":"\\"}\n{"b":1}',
    b'{"a":1}}\n{{"b":1}',
    b'{"a":"\xff"}\n{"b":1}',
    b'{"timestamp":1,"a":2}\n{"b":1}',
    b'{"a":1,"a":2}\n{"a":3}',
]


@pytest.mark.parametrize("body", TRICKS)
def test_many_lines_at_once_are_what_they_are_one_by_one(body):
    together = make().feed(body + b"\n", WHEN)
    apart = b"".join(make().feed(line + b"\n", WHEN) for line in body.split(b"\n"))
    assert [json.loads(t) for t in together.splitlines()] == [
        json.loads(t) for t in apart.splitlines()
    ]


WORDS = rb'{ } [ ] , : " "a" 1 {"a":1} "--_pyinit_--" \ null'.split()
JSONISH = st.lists(
    st.sampled_from([*(word.replace(b"_", b" ") for word in WORDS), b"\n", b"}\n{", b" "]),
    max_size=30,
).map(b"".join)


@given(JSONISH)
def test_near_json_at_once_is_what_it_is_line_by_line(body):
    together = make().feed(b"{" + body + b"}\n", WHEN).splitlines()
    apart = [make().feed(x + b"\n", WHEN)[:-1] for x in (b"{" + body + b"}").split(b"\n")]
    assert [json.loads(t) for t in together] == [json.loads(t) for t in apart]
