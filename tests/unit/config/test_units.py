# ruff: noqa: E501  tables and messages stay on one line
from __future__ import annotations

import signal

import pytest

from entrypoint.config import units
from entrypoint.config.variables import VariableError, escape, replace
from entrypoint.config.words import quote, split, split_words
from entrypoint.sockets import declared_address


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(5000, 5), (0, 0), (1.5, 0.0015), ("5000", 5), ("5s", 5), ("1m30s", 90), ("500ms", 0.5),
     ("1.5 s", 1.5), ("1h", 3600), ("1d", 86400), ("2M", 120)],
)  # fmt: skip
def test_times(value, seconds):
    assert units.seconds(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        -1,
        "5x",
        "s",
        "",
        "1m30",
        None,
        True,
        float("nan"),
        float("inf"),
        "-5s",
        "1e3",
        10**15,
        "1..5s",
    ],
)
def test_no_times(value):
    with pytest.raises(ValueError, match="a time is"):
        units.seconds(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [(1000, 1000), ("200M", 200 * 1024**2), ("1G", 1024**3), ("512k", 512 * 1024), ("1.5G", 1610612736),
     ("64MiB", 64 * 1024**2), ("64 MB", 64 * 1024**2), ("77", 77)],
)  # fmt: skip
def test_sizes(value, size):
    assert units.size(value) == size


@pytest.mark.parametrize("value", ["M", "", "-5M", "5X", None, False, -1, float("nan"), "1M2"])
def test_no_sizes(value):
    with pytest.raises(ValueError, match="a size is"):
        units.size(value)


@pytest.mark.parametrize(
    ("value", "number"),
    [("SIGTERM", 15), ("term", 15), (15, 15), ("15", 15), ("SIGRTMIN+3", signal.SIGRTMIN + 3),
     ("RTMAX-1", signal.SIGRTMAX - 1), ("SIGPOLL", signal.SIGIO)],
)  # fmt: skip
def test_signals(value, number):
    assert units.signal_number(value) == number


@pytest.mark.parametrize("value", [0, 65, 32, "SIGNOPE", "TERM+1", "RTMIN+99", "", None, True, 1.5])
def test_no_signals(value):
    with pytest.raises(ValueError, match="signal"):
        units.signal_number(value)


def test_a_misspelt_signal_is_corrected():
    with pytest.raises(ValueError, match="did you mean 'SIGTERM'"):
        units.signal_number("SIGTREM")


@pytest.mark.parametrize("text", ["* * * * *", "*/5 0 1-5 JAN MON", "0 */2 * * * *", "0 0 L * *"])
def test_cron_patterns(text):
    assert units.cron(f" {text} ") == text


@pytest.mark.parametrize(
    ("text", "meant"), [("@daily", "0 0 * * *"), ("0 3 ? * MON", "0 3 * * MON")]
)
def test_cron_patterns_that_are_written_otherwise(text, meant):
    assert units.cron(text) == meant


@pytest.mark.parametrize(
    "text",
    ["* * * *", "@often", "@reboot", "every day at five o'clock", "99 * * * *", "*/0 * * * *",
     "0 0 31 2 *", "0 0 * * FOO", "60 * * * * *"],
)  # fmt: skip
def test_no_cron_patterns(text):
    with pytest.raises(ValueError, match="cron"):
        units.cron(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [("127.0.0.1:5000", "127.0.0.1:5000"), ("[::1]:80", "[::1]:80"), ("[0::1]:80", "[::1]:80"),
     ("localhost:80", "127.0.0.1:80"), ("unix:/run/a.sock", "unix:/run/a.sock"),
     ("unix:@name", "unix:@name"), ("[::]:5000", "[::]:5000")],
)  # fmt: skip
def test_addresses(value, text):
    assert declared_address.parse(value).text == text


@pytest.mark.parametrize("value", [5000, "5000", ":5000", "*:5000"])
def test_a_bare_port_is_every_address(value):
    assert declared_address.parse(value, dual_stack=True).text == "[::]:5000"
    assert not declared_address.parse(value, dual_stack=True).v6only
    assert declared_address.parse(value, dual_stack=False).text == "0.0.0.0:5000"


@pytest.mark.parametrize(
    "value",
    [0, 65536, "0", "", "x", "22:22", "::1:5000", "example.org:80", "unix:", "unix:run/a", "unix:@",
     "unix:/" + "x" * 107, "[::1]", "[x]:80", "127.1:80", "1.2.3.4:", None, True, "[::1%lo]:80",
     "1\x002:80", "٣:80"],
)  # fmt: skip
def test_no_addresses(value):
    with pytest.raises(ValueError, match=r"address|port|host|socket"):
        declared_address.parse(value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("[::]:80", "0.0.0.0:80", True), ("0.0.0.0:80", "0.0.0.0:80", True),
     ("127.0.0.1:80", "0.0.0.0:80", False), ("[::]:80", "[::]:81", False),
     ("unix:/a", "unix:/a", True), ("unix:/a", "[::]:80", False)],
)  # fmt: skip
def test_addresses_that_overlap(one, other, same):
    assert (
        declared_address.overlap(declared_address.parse(one), declared_address.parse(other)) is same
    )
    assert (
        declared_address.overlap(declared_address.parse(other), declared_address.parse(one)) is same
    )


def test_variables():
    env = {"A": "1", "E": "", "S": "${A}"}
    assert replace("${A}-${B:-x}-${E:-y}-${E}-$$-$A-$", env) == "1-x-y--$-$A-$"
    assert replace("${S}", env) == "${A}"  # what was put in is not looked at again
    assert replace("$${A}", env) == "${A}"


@pytest.mark.parametrize(
    "text", ["${B}", "${", "${A", "${}", "${1}", "${A-x}", "${A:-${B}}", "${A B}"]
)
def test_variables_that_cannot_be_replaced(text):
    with pytest.raises(VariableError):
        replace(text, {"A": "1"})


@pytest.mark.parametrize("text", ["$$", "$${A}", "${A}", "$A", "$", "$$$", "a$$${B}"])
def test_escape_is_the_inverse_of_replace(text):
    assert replace(escape(text), {}) == text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("serve -s build -l 5000", ("serve", "-s", "build", "-l", "5000")),
        ("a 'b c' \"d e\"f g\\ h ''", ("a", "b c", "d ef", "g h", "")),
        ("python -c 'print(1); x'", ("python", "-c", "print(1); x")),
        ('a "x|y" --r={fd}', ("a", "x|y", "--r={fd}")),
        ('a "\\"q\\" \\n"', ("a", '"q" \\n')),
        ("a b$ c~ d#e", ("a", "b$", "c~", "d#e")),
        ("  a  \n", ("a",)),
    ],
)
def test_words_without_a_shell(line, words):
    found = split(line)
    assert found.words == words
    assert found.shell == "no"


@pytest.mark.parametrize(
    "line", ["a $X", 'a "$X"', "a > f", "a 2>&1", "a *", "a ~/x", "X=1 a", "a `b`", "a # b"]
)
def test_one_command_that_a_shell_expands(line):
    assert split(line).shell == "simple"


@pytest.mark.parametrize(
    "line", ["a | b", "a && b", "a; b", "a &", "(a)", "cd x", "if a", "a\nb", "exec a", ". ./x"]
)
def test_compound_command_lines(line):
    assert split(line).shell == "compound"


@pytest.mark.parametrize("line", ["a 'b", 'a "b'])
def test_open_quotes(line):
    with pytest.raises(ValueError, match="not closed"):
        split_words(line)


def test_quote_is_read_back():
    for word in ("a", "a b", "a'b", "", "$x", "{fd}"):
        assert split_words(quote(word)) == (word,)
