"""Compose's syntax of variables in files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.config import dotenv

ENVIRON = {"HOME": "/root", "EMPTY": ""}


def parsed(text, environ=ENVIRON, parse=dotenv.parse):
    problems = []
    found = parse(text, environ, lambda *location: problems.append(location))
    return found, problems


def value(text, environ=ENVIRON):
    found, problems = parsed(f"A={text}", environ)
    assert problems == []
    return found["A"]


# The examples of Compose's own documentation, and what follows from them.
@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("VAL", "VAL"),
        ('"VAL"', "VAL"),
        ("'VAL'", "VAL"),
        ("VAL # comment", "VAL"),
        ("VAL# not a comment", "VAL# not a comment"),
        ("#not a comment", "#not a comment"),
        (" # comment", ""),
        ('"VAL # not a comment"', "VAL # not a comment"),
        ('"VAL" # comment', "VAL"),
        ("'$OTHER'", "$OTHER"),
        ("'${OTHER}'", "${OTHER}"),
        (r"'Let\'s go!'", "Let's go!"),
        (r'"{\"hello\": \"json\"}"', '{"hello": "json"}'),
        (r'"some\tvalue\\\n"', "some\tvalue\\\n"),
        (r"'some\tvalue'", r"some\tvalue"),
        (r"some\tvalue", r"some\tvalue"),
        ("'SOME\nVALUE'", "SOME\nVALUE"),
        ('"SOME\nVALUE"', "SOME\nVALUE"),
        (r'"C:\users"', r"C:\users"),
        ('a"b"', 'a"b"'),
        ("  spaces around  ", "spaces around"),
        ("a=b=c", "a=b=c"),
        ("", ""),
        ("\r", ""),
        # -- variables
        ("$HOME/x", "/root/x"),
        ('"${HOME}/x"', "/root/x"),
        (r'"\$HOME"', "$HOME"),
        ("$$HOME", "$HOME"),
        ("$", "$"),
        ("a$ b$1", "a$ b$1"),
        ("${EMPTY}", ""),
        ("${EMPTY-no}", ""),
        ("${EMPTY:-yes}", "yes"),
        ("${NONE-yes}", "yes"),
        ("${NONE:-}", ""),
        ("${HOME:-no}", "/root"),
        ("${HOME:+yes}", "yes"),
        ("${EMPTY:+no}", ""),
        ("${EMPTY+yes}", "yes"),
        ("${NONE+no}", ""),
        ("${HOME:?must be there}", "/root"),
        ("${NONE:-${EMPTY:-$HOME}}", "/root"),
        ("${HOME:-${NONE}}", "/root"),
        (r'"${NONE:-a\"b}"', 'a"b'),
        ("${NONE:-a'b}", "a'b"),
    ],
)
def test_a_value(line, meant):
    assert value(line) == meant


@pytest.mark.parametrize(
    "text",
    ["A=1", " A = 1 ", "export A=1", "export\tA=1", "A: 1", "A:1", "\ufeffA=1"[1:], "A=1\r\n"],
)
def test_the_forms_of_a_line(text):
    assert parsed(text) == ({"A": "1"}, [])


def test_a_file():
    text = """\
# of the database
DB_USER=app

export DB_URL="postgres://${DB_USER}@db/${DB_NAME:-main}"  # its address
HOME
NOT_SET
export=1
A.b-c=2
DB_USER=last
"""
    assert parsed(text) == (
        {
            "DB_USER": "last",
            "DB_URL": "postgres://app@db/main",
            "HOME": "/root",
            "export": "1",
            "A.b-c": "2",
        },
        [],
    )


def test_the_file_goes_before_the_environment():
    assert parsed("HOME=/srv\nX=$HOME")[0]["X"] == "/srv"


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("A=1\n=2\nB=3", (2, 1)),
        ("A=1\n1A=2\nB=3", (2, 1)),
        ("A=1\nno name=2\nB=3", (2, 4)),
        ("A=1\n  X$Y=2\nB=3", (2, 4)),
        ("A=1\nX=$NONE\nB=3", (2, 3)),
        ('A=1\nX="a ${NONE}\nB=4"\nB=3', (2, 6)),
        ("A=1\nX=${NONE:?say}\nB=3", (2, 3)),
        ("A=1\nX=${NONE\nB=3", (2, 3)),
        ("A=1\nX=${NONE:-a\nB=3", (2, 3)),
        ("A=1\nX=${NONE/a/b}\nB=3", (2, 3)),
        ("A=1\nX=${}\nB=3", (2, 3)),
        ("A=1\nX='a'b\nB=3", (2, 6)),
        ("A=1\nX='a'#b\nB=3", (2, 6)),
        ("A=1\nX=a\0b\nB=3", (2, 1)),
        ("A=1\nX=" + "${NONE:-" * 11 + "}" * 11 + "\nB=3", (2, 83)),
    ],
)
def test_a_mistake_has_its_place_and_the_other_lines_count(text, location):
    found, [(line, column, _)] = parsed(text)
    assert (line, column) == location
    assert found == {"A": "1", "B": "3"}


@pytest.mark.parametrize("quote", ["'", '"'])
def test_after_a_quote_that_is_not_closed_nothing_counts(quote):
    found, [(line, column, message)] = parsed(f"A=1\nX={quote}a\nB=3")
    assert (found, line, column) == ({"A": "1"}, 2, 3)
    assert quote in message


def test_mistakes_without_end_end():
    _, problems = parsed("=\n" * 100_000)
    assert len(problems) == 50


def test_raw_is_as_it_stands():
    text = "A='1' # $HOME\r\n# comment\n\n B=2\nHOME\nNONE\nC=\nno name=3\nD=4"
    found, problems = parsed(text, parse=dotenv.parse_raw)
    assert found == {"A": "'1' # $HOME", "B": "2", "HOME": "/root", "C": "", "D": "4"}
    assert [line for line, _, _ in problems] == [8]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_every_value_can_be_written(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    assert parsed(f'A="{escaped}"\nB=2') == ({"A": text, "B": "2"}, [])


PIECES = ["A=", "B:", "export ", "'", '"', "\\", "$", "${", "}", ":-", ":?", "#", " ", "\n", "\0"]


@given(st.lists(st.sampled_from([*PIECES, "SECRET", "é"])).map("".join))
def test_whatever_is_written_gives_variables_or_locations(text):
    found, problems = parsed(text, {"SECRET": "pa$s"})
    lines = text.split("\n")
    for line, column, message in problems:
        assert 1 <= line <= len(lines)
        assert 1 <= column <= len(lines[line - 1]) + 1
        assert "SECRET" not in message
    assert all("\0" not in one for one in found.values())
