"""docs/reference/events.md has each event that the code can log, and no other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support import logevents

ROOT = Path(__file__).resolve().parents[3]
LEVELS = ("debug", "info", "warning", "error", "critical")
# What takes an event to the log: (level, event, fields); `report_of` has a worker first.
CALLS = {"report": 0, "report_of": 1, "log": 0, "_log": 0, "event": 0, "last_word": 0}
# Pass on what others report.
FORWARDS = {
    "entrypoint/core/transaction.py",  # report_of
    "entrypoint/shell/reports.py",  # effects.Report
    "entrypoint/shell/runtime.py",
    "entrypoint/logs/events.py",
    "entrypoint/logs/boot_messages.py",
    "entrypoint/client/records.py",
}


def texts(node, function, seen=()):
    """All texts that an expression can be; None when this cannot be told."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        both = [texts(node.body, function, seen), texts(node.orelse, function, seen)]
        return None if None in both else [text for part in both for text in part]
    if isinstance(node, ast.Name) and node.id not in seen:
        given = [
            texts(each.value, function, (*seen, node.id))
            for each in ast.walk(function)
            if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == node.id
        ]
        if given and None not in given:
            return [text for part in given for text in part]
    return None


def fields_of(call, function, first):
    """Names of the fields that stand in a call, or in the mappings that it names."""
    found = {each.arg for each in call.keywords if each.arg}
    mappings = [each.value for each in call.keywords if not each.arg]
    mappings += call.args[first + 2 :]
    for node in mappings:
        todo = [node]
        if isinstance(node, ast.Name):
            todo += [
                each.value
                for each in ast.walk(function)
                if isinstance(each, (ast.Assign, ast.AnnAssign))
                and node.id in ast.unparse(each).partition("=")[0]
            ]
        for part in todo:
            for each in ast.walk(part) if part is not None else ():
                if isinstance(each, ast.Dict):
                    keys = [key.value for key in each.keys if isinstance(key, ast.Constant)]
                    found |= {key for key in keys if isinstance(key, str)}
    return found


def logged():
    """(place, levels, events, fields, whether a worker is named) of each call that logs."""
    for path in sorted((ROOT / "entrypoint").rglob("*.py")):
        where = str(path.relative_to(ROOT))
        source = path.read_text(encoding="utf-8")
        if not any(f".{name}(" in source for name in CALLS):
            continue  # most files: to read all of them takes a second
        tree = ast.parse(source)
        functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
        for function in functions:
            for call in ast.walk(function):
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                    continue
                first = CALLS.get(call.func.attr)
                if first is None or len(call.args) < first + 2:
                    continue
                levels = texts(call.args[first], function)
                events = texts(call.args[first + 1], function)
                is_level = bool(levels) and set(levels) <= set(LEVELS)
                if is_level and events:
                    fields = fields_of(call, function, first)
                    yield f"{where}:{call.lineno}", levels, events, fields, bool(first)
                elif is_level or ast.unparse(call.args[first]).endswith("level"):
                    assert where in FORWARDS, (
                        f"{where}:{call.lineno}: its event cannot be told: write it as a text"
                    )


LOGGED = list(logged())


def test_the_collection_finds_the_calls():
    assert len(LOGGED) > 80
    assert {"core", "sockets", "api"} <= {position.split("/")[1] for position, *_ in LOGGED}


def test_the_page_has_each_event_of_the_code_and_no_other():
    events = {event for _, _, events, _, _ in LOGGED for event in events}
    assert events == set(logevents.known())


@pytest.mark.parametrize("each", LOGGED, ids=lambda each: each[0])
def test_the_page_has_the_levels_and_fields(each):
    _, levels, events, fields, of_worker = each
    # Not shown: it names the worker whose last lines are added.
    fields = fields - {"incarnation"}
    if of_worker:
        fields |= {"app", "instance", "pid"}
    known = logevents.known()
    assert set(events) <= set(known), "docs/reference/events.py lacks it; then `make reference`"
    for event in events:
        assert fields <= known[event][1]
    # Which of several levels belongs to which of several events is not told apart.
    assert set(levels) <= {level for event in events for level in known[event][0]}


def test_each_field_is_explained_once_and_used():
    module = logevents.table()
    used = {field for _, fields in module.known().values() for field in fields}
    assert used == set(module.FIELDS)


def test_what_is_not_documented_is_found():
    record = {"timestamp": "", "level": "info", "event": "worker started", "app": "web"}
    assert logevents.undocumented(record) == ""
    assert "nonsense" in logevents.undocumented({**record, "nonsense": 1})
    assert "level" in logevents.undocumented({**record, "level": "error"})
    assert "event" in logevents.undocumented({**record, "event": "worker dances"})
