"""Which lines become one record, and that none is lost whatever the chunks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.logs import multiline
from entrypoint.logs.layout import layout
from entrypoint.logs.multiline import AUTO, Joiner
from entrypoint.logs.wrap import JsonWrapper
from tests.unit.logs.test_wrap import WHEN, unwrap

ORIGIN = ('we"b', 2, 77, "stdout")


def wrapper(rule: str = AUTO) -> JsonWrapper:
    return JsonWrapper(layout().lines(*ORIGIN), Joiner(rule))


def records(text: str, rule: str = AUTO) -> list[str]:
    made = wrapper(rule)
    written = made.feed(text.encode(), WHEN) + made.end(WHEN)
    return [json.loads(record)["event"] for record in written.splitlines()]


PYTHON = """\
Traceback (most recent call last):
  File "a.py", line 1, in f
    1 / 0
    ~~^~~
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    f()
ValueError: no"""
CAUSED = PYTHON.replace(
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "<stdin>", line 1, in <module>
  | ExceptionGroup: eg (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +---------------- 2 ----------------
    | TypeError: int
    +------------------------------------"""
JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: x
\tat com.example.Main.run(Main.java:10)
\t... 3 more
Caused by: java.lang.NullPointerException
\tat com.example.Main.main(Main.java:5)
\tSuppressed: java.io.IOException: y"""
NODE = """\
Error: boom
    at Object.<anonymous> (/app/a.js:1:7)
    at node:internal/main/run_main_module:33:47 {
  code: 'E',
  [cause]: Error: other
      at b.js:1
}"""
GO = """\
panic: runtime error: index out of range [5] with length 3

goroutine 1 [running]:
main.main()
\t/tmp/x.go:9 +0x1d

goroutine 18 [chan receive]:
main.work(0xc000012345)
\t/tmp/x.go:20 +0x40
created by main.main in goroutine 1
\t/tmp/x.go:7 +0x20"""
INSPECTED = "{\n  a: 1,\n  b: [\n    2\n  ]\n}"
BLOCKS = [PYTHON, CAUSED, GROUP, JAVA, NODE, GO, INSPECTED]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split()[0])
def test_what_languages_write_is_one_record_among_others(block) -> None:
    assert records(f"before\n{block}\nafter\nend") == ["before", block, "after", "end"]
    assert records(f"{block}\n{block}\n\nafter\n") == [block, block, "", "after"]
    crlf = block.replace("\n", "\r\n")
    assert records(f"before\r\n{crlf}\r\nafter\r\n") == ["before\r", f"{crlf}\r", "after\r"]


def test_lines_of_their_own_stay_so() -> None:
    lines = ["GET / 200", "", "   ", "[INFO] x", '{"n":', "(x)", "panicking", "Traceback"]
    assert records("\n".join(lines)) == lines


def test_an_object_is_its_own_record_with_its_fields() -> None:
    made = wrapper()
    written = made.feed(b'{"n":1}\n  indented\n{"n":2}\n', WHEN) + made.end(WHEN)
    first, second, third = (json.loads(record) for record in written.splitlines())
    assert (first["n"], second["event"], third["n"]) == (1, "  indented", 2)


def test_blank_lines_after_a_traceback_are_their_own() -> None:
    assert records(f"{PYTHON}\n\n\nafter") == [PYTHON, "", "", "after"]
    assert records(f"{PYTHON}\n\n") == [PYTHON, ""]


def test_a_pattern_says_where_a_record_begins() -> None:
    text = "continued\n2026-01-02 a\n  b\nc\n\n2026-01-03 d\n2026-01-04 e"
    assert records(text, r"^^\d{4}-\d\d-\d\d ") == [
        "continued",
        "2026-01-02 a\n  b\nc\n",
        "2026-01-03 d",
        "2026-01-04 e",
    ]


def test_the_last_record_waits_for_more_and_is_told_when_asked() -> None:
    made = wrapper()
    assert made.feed(b"one\n", WHEN) == b""
    assert made.waiting == 4
    written = made.feed(b"  more\nhalf", WHEN)
    assert (written, made.waiting, made.held) == (b"", 11, 15)
    assert json.loads(made.flush_record(WHEN))["event"] == "one\n  more"
    assert (made.waiting, made.held) == (0, 4)
    assert made.flush_record(WHEN) == b""


def test_a_record_is_bounded_and_goes_on_in_parts() -> None:
    made = wrapper()
    lines = [b"begin", *(b"  %d" % n for n in range(1200))]
    written = made.feed(b"\n".join(lines) + b"\nnext\n", WHEN) + made.end(WHEN)
    parts = [json.loads(record) for record in written.splitlines()]
    assert [part.get("partial", False) for part in parts] == [True, True, False, False]
    assert "".join(part["event"] for part in parts[:3]).encode() == b"\n".join(lines)
    for _ in range(100):
        made.feed(b" " + b"x" * 60_000 + b"\n", WHEN)
        assert made.waiting <= multiline.MOST_BYTES + 60_002


PIECES = [*(f"{block}\n".encode() for block in BLOCKS)]
PIECES += [b"a\n", b"\n", b" b\n", b"}\n", b'{"x":1}\n', b"\xff\n", b"  c", b"Caused by: d\n"]
PIECES += [b"\r\n", b"long" * 9]
# Other objects of JSON are records too: the one above stands for them.
OTHER = st.binary(max_size=5).filter(lambda text: b"{" not in text)


@given(
    st.sampled_from([AUTO, "^a", "^\\S"]),
    st.lists(st.sampled_from(PIECES) | OTHER, max_size=12).map(b"".join),
    st.lists(st.integers(0, 10_000), max_size=8),
    st.sampled_from([16, 100, 1 << 20]),
    st.booleans(),
)
def test_every_byte_comes_out_whatever_belongs_together(rule, data, cuts, limit, settles) -> None:
    made = wrapper(rule)
    written = b""
    start = 0
    for end in (*sorted(cut % (len(data) + 1) for cut in cuts), len(data)):
        if end > start:
            written += made.feed(data[start:end], WHEN, limit)
        if settles:
            written += made.flush_record(WHEN)
        start = end
    written += made.end(WHEN)
    assert made.held == 0
    got = b""
    for text, record in unwrap(written):
        got += (b'{"x":1}' if text is None else text) + b"\n"
        assert text is not None or record["x"] == 1
    assert got == data + (b"" if data.endswith(b"\n") or not data else b"\n")


@given(st.lists(st.sampled_from([*BLOCKS, "a", "b"]), max_size=6), st.data())
def test_chunks_make_no_difference_to_what_belongs_together(blocks, draw) -> None:
    data = "".join(f"{block}\n" for block in blocks).encode()
    whole, cut = wrapper(), wrapper()
    at = draw.draw(st.integers(0, len(data)))
    expected = whole.feed(data, WHEN) + whole.end(WHEN)
    written = b""
    for piece in (data[:at], data[at:]):
        if piece:
            written += cut.feed(piece, WHEN)
    assert written + cut.end(WHEN) == expected
