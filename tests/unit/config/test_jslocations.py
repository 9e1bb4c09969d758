"""Where the keys of a `.config.js` stand, read from its text."""

from __future__ import annotations

import pytest

from entrypoint.config.errors import Problems
from entrypoint.config.jslocations import put_locations, tokens
from entrypoint.config.jsonfile import parse_json

SOURCE = """\
#!/usr/bin/env node
// apps: [
/* apps: [{ name: 1 }] */
const re = /[/'"]\\/apps: \\[/g, half = 4 / 2 / 1;
const text = `apps: [${'`' + `{`}
`;
module.exports = {
  apps: [
    {
      name: 'api', "script": "a.js",
      env: { A: '}', B: [1, { name: 2 }], 'C-D': f({ x: 1 }) },
      args,
      instances: process.env.N || 2,
    },
    common('x'),
    { name: 'b' },
  ],
};
"""


def placed(value, source):
    tree = parse_json(value, Problems("f"))
    todo = [tree]
    while todo:
        node = todo.pop()
        node.line = node.column = 0
        for key, inner in node.entries.values():
            key.line = key.column = 0
            todo.append(inner)
        todo += node.items
    put_locations(tree, source)
    return tree


def location(app, *keys):
    for key in keys[:-1]:
        app = app.get(key)
    key, value = app.entries[keys[-1]]
    return (key.line, key.column), (value.line, value.column)


def test_the_places_of_object_literals():
    tree = placed(
        '{"apps": [{"name": "api", "script": "a.js", "env": {"A": "}", "C-D": 1}, "args": "x", '
        '"instances": 2}, {"name": "x"}, {"name": "b"}]}',
        SOURCE,
    )
    api, computed, last = tree.get("apps").items
    assert location(api, "name") == ((10, 7), (10, 13))
    assert location(api, "script") == ((10, 20), (10, 30))
    assert location(api, "env", "A") == ((11, 14), (11, 17))
    assert location(api, "env", "C-D") == ((11, 43), (11, 50))
    assert location(api, "args") == ((12, 7), (12, 7))
    assert location(api, "instances") == ((13, 7), (13, 18))
    assert location(computed, "name") == ((0, 0), (0, 0))
    assert location(last, "name") == ((16, 7), (16, 13))


@pytest.mark.parametrize(
    "source",
    [
        "module.exports = { apps: [...list, { name: 'a' }] }",
        "module.exports = { apps: list.map((name) => ({ name })) }",
        "module.exports = make()",
        "module.exports = { apps: [{ name: 'a' }, { name: 'b' }] }",
        "module.exports = { apps: [{ name: 'a'",
        "`${",
        "'",
        "/",
    ],
)
def test_what_is_computed_has_no_location(source):
    tree = placed('{"apps": [{"name": "a"}]}', source)
    assert location(tree.get("apps").items[0], "name")[0] in {(0, 0), (1, 29)}


@pytest.mark.parametrize(
    "source", ["module.exports = [{ name: 'a' }]", "export default [{ name: 'a' }]"]
)
def test_an_exported_list(source):
    tree = placed('[{"name": "a"}]', source)
    assert location(tree.items[0], "name")[0] != (0, 0)


def test_tokens_know_their_lines():
    found = tokens("a\n/* \n */ b `\n` c")
    assert [(token.text, token.line, token.column) for token in found] == [
        ("a", 1, 1),
        ("b", 3, 5),
        ("`", 3, 7),
        ("c", 4, 3),
    ]
