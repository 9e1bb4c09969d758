"""The strict YAML and the JSON reader: types, locations, bounds."""

# ruff: noqa: RUF001  tables and messages stay on one line
from __future__ import annotations

import math

import pytest

from entrypoint.config.errors import ConfigErrors, Problems
from entrypoint.config.jsonfile import parse_json
from entrypoint.config.tree import DEEPEST, core_value, decode, parse_yaml


def yaml_of(text):
    problems = Problems("f.yaml")
    tree = parse_yaml(text, problems)
    problems.raise_errors()
    return tree


def plain(node):
    if node.kind == "map":
        return {key: plain(value) for key, (_, value) in node.entries.items()}
    if node.kind == "seq":
        return [plain(item) for item in node.items]
    return node.value


def error_of(parse, text):
    problems = Problems("f")
    with pytest.raises(ConfigErrors) as caught:
        parse(text, problems)
        problems.raise_errors()
    return str(caught.value.errors[0])


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "on",
        "Yes",
        "off",
        "22:22",
        "1_600",
        "2024-01-01",
        "0b1",
        "1e",
        "+",
        "-",
        ".",
        "0o8",
        "0x",
        "１",
        "infinity",
        "nan",
        "1__0",
        "12:30:45",
        "=",
        "n",
        "+.",
        "-0x1f",
    ],
)
def test_what_yaml_1_2_leaves_a_text(text):
    assert core_value(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("true", True),
        ("FALSE", False),
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_what_the_core_schema_types(text, value):
    assert core_value(text) == value
    assert type(core_value(text)) is type(value)


def test_nan_and_endless_digits():
    assert math.isnan(core_value(".nan"))
    assert core_value("9" * 5000) == "9" * 5000


def test_quoted_texts_stay_texts_and_tags_decide():
    assert plain(yaml_of("a: '5'\nb: \"true\"\nc: !!str 5\nd: !!int 5\n")) == {
        "a": "5", "b": "true", "c": "5", "d": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["a: !!python/object:os.system x", "a: !x b", "!!set {a}", "!!int a"]
)
def test_other_tags_are_errors(text):
    assert "tag" in error_of(parse_yaml, text)


def test_every_node_knows_its_location():
    tree = yaml_of("# ü\na:\n  - é: 1\n    b: [x, yy]\n")
    key, value = tree.entries["a"][1].items[0].entries["b"]
    assert (key.line, key.column) == (4, 5)
    assert [(item.line, item.column) for item in value.items] == [(4, 9), (4, 12)]


def test_a_key_that_is_there_twice():
    message = error_of(parse_yaml, "a: 1\nb: 2\na: 3\n")
    assert message == "f:3:1: the key 'a' is already in line 1"


def test_anchors_and_merges():
    tree = yaml_of("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {<<: [*x, {c: 4}]}\nw: *x\n")
    assert plain(tree) == {
        "x": {"a": 1, "b": 2},
        "y": {"b": 3, "a": 1},
        "z": {"a": 1, "b": 2, "c": 4},
        "w": {"a": 1, "b": 2},
    }


def test_alias_bombs_are_stopped_early():
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "with its aliases, has more than" in error_of(parse_yaml, "\n".join(lines))


def test_alias_towers_count_as_depth():
    lines = ["a0: &a0 [1]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, DEEPEST + 2)]
    assert "levels deep" in error_of(parse_yaml, "\n".join(lines))


@pytest.mark.parametrize("parse", [parse_yaml, parse_json])
@pytest.mark.parametrize("depth", [DEEPEST + 1, 100_000])
def test_depth_is_bounded(parse, depth):
    said = error_of(parse, "[" * depth)
    # libyaml 0.2.6 has a bound of its own, beyond ours, and reads ahead.
    assert "levels deep" in said or "maximum nesting depth" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [*a]", "1:8: *a would contain itself"),
        ("a: *b", "1:4: "),
        ("a: 1\n---\nb: 2\n", "2:1: a second document"),
        ("a:\n\t- b\n", "2:1: YAML syntax: a tab cannot indent"),
        ("a: [1\n", "YAML syntax"),
        ("a: b: c\n", "1:5: YAML syntax"),
        ("? [a]\n: b\n", "1:3: a key must be a word"),
        ("a: {<<: 5}", "1:5: << merges mappings only"),
    ],
)
def test_errors_have_their_location(text, said):
    assert f"f:{said}" in f"{error_of(parse_yaml, text)}" or said in error_of(parse_yaml, text)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: \xff", "f:1:4: byte 0xff is not UTF-8"),
        (b"a: 1\nb: \x07", "f:2:4: control character U+0007"),
        (b"\xff\xfea\0", "UTF-16"),
        (b"x" * (1024 * 1024 + 1), "larger than 1024 KiB"),
        ("a: \ufffe".encode(), "f:1:4: control character U+FFFE"),
    ],
)
def test_bytes_that_are_no_text(data, said):
    assert said in error_of(decode, data)


def test_a_byte_order_mark_is_dropped():
    assert decode(b"\xef\xbb\xbfa: 1", Problems("f")) == "a: 1"


def test_json_with_places_comments_and_trailing_commas():
    text = '{ // c\n  "a": [1, -2.5e3, true, null, "\\u00e9\\ud83d\\ude00\\/",],\n\t/* */ b: {},\n}'
    tree = parse_json(text, Problems("f"))
    assert plain(tree) == {"a": [1, -2500.0, True, None, "é😀/"], "b": {}}
    assert (tree.entries["b"][0].line, tree.entries["b"][0].column) == (3, 8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a" 1}', "f:1:6: JSON syntax"),
        ('{"a": }', "f:1:7: JSON syntax: a value is missing"),
        ('{"a": 1} x', "nothing may follow"),
        ('{"a": "b', "does not end"),
        ('{"a": "\\x"}', "an escape"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a": "\\u00zz"}', "an escape"),
        ("{'a\": 1}", "does not end"),
        ('{"a": abc}', "double quotes"),
        ('{"a": 1, "a": 2}', "already in line 1"),
        ("[1, 2", "is missing here"),
        ("/* ", "does not end"),
        ("", "is empty"),
    ],
)
def test_json_errors(text, said):
    assert said in error_of(parse_json, text)
