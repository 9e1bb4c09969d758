"""The tables of docs/reference/pm2.md have every key, option and command of PM2 7."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from entrypoint.config.pm2 import schema
from tests.pm2.harness import PM2

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not PM2.exists(), reason="pm2 is not installed"),
]


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("pm2_pages", ROOT / "docs/reference/pm2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_cells(rows):
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row[0])}


def test_every_key_and_alias_of_pm2s_schema(pages):
    theirs = json.loads((PM2 / "lib/API/schema.json").read_text())
    rows = first_cells(pages.key_rows())
    for key, what in theirs.items():
        if key.startswith("^"):
            continue
        aliases = what.get("alias", [])
        for word in (key, *([aliases] if isinstance(aliases, str) else aliases)):
            assert schema.SPELLINGS[word] == key
            assert word in rows or word == "interpreterArgs", word


def test_the_order_of_the_aliases_is_pm2s():
    theirs = json.loads((PM2 / "lib/API/schema.json").read_text())
    for key, what in theirs.items():
        aliases = what.get("alias")
        if aliases is not None:
            listed = [aliases] if isinstance(aliases, str) else list(reversed(aliases))
            assert set(schema.ALIASES[key]) == set(listed)


def test_types_are_pm2s():
    theirs = json.loads((PM2 / "lib/API/schema.json").read_text())
    for key, what in theirs.items():
        if key in schema.TAKEN:
            types = what["type"] if isinstance(what["type"], list) else [what["type"]]
            assert (key in schema.BOOLEANS) == (types == ["boolean"]), key
            assert (key in schema.LISTS) == (types == ["array", "string"]), key


@pytest.mark.parametrize("file", ["Runtime4Docker.js", "CLI.js"])
def test_every_option_of_pm2s_command_line(pages, file):
    text = (PM2 / "lib/binaries" / file).read_text()
    # Those of all commands; a command's own follow `commander.command(`.
    head = text[: text.index("commander.command(")]
    rows = first_cells(pages.option_rows())
    missing = []
    for words in re.findall(r"\.option\('([^']+)'", head):
        options = re.findall(r"(?<![\w-])(--?[a-z][\w-]*)", words)
        if not rows.intersection(options) and "--version" not in options:
            missing.append(words)
    assert missing == []


def test_every_command_of_pm2(pages):
    text = (PM2 / "lib/binaries/CLI.js").read_text()
    theirs = set(re.findall(r"\.command\('([\w:]+)", text))
    aliases = set(re.findall(r"\.alias\('([\w:]+)'", text))
    assert sorted((theirs | aliases) - first_cells(pages.command_rows())) == []
