"""`make mutants`: each mutant has a name of its own, lists name what exists, a run goes on."""

from __future__ import annotations

import functools
import json
from collections import Counter

import pytest

from tests.mutants import __main__ as program
from tests.mutants import names, outcomes
from tests.mutants.mutate import mutants
from tests.mutants.outcomes import OtherCodeError, Outcomes

SOURCE = """
LIMIT = 3


def one(a, b, c):
    if a and not b:
        return [
            a + b - c,
            a == b,
        ]
    report(a)
    report(a)
"""


known = functools.cache(program.known)


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "module.py").write_text(SOURCE)
    return mutants("module.py")


def test_each_mutant_has_a_name_of_its_own(module):
    assert [each.text for each in module] == [
        "module.py:2:8: LIMIT [num] LIMIT = 3",
        "module.py:6:7: one [bool] if a and not b:",
        "module.py:6:13: one [bool] if a and not b: #2",
        "module.py:8:12: one [arith] a + b - c,",
        "module.py:8:12: one [arith] a + b - c, #2",
        "module.py:9:12: one [cmp] a == b,",
        "module.py:11:4: one [dropcall] report(a)",
        "module.py:12:4: one [dropcall] report(a) #2",
    ]


def test_a_mutant_knows_the_lines_of_its_statement(module):
    assert [(each.first, each.last) for each in module] == [
        (2, 2), (6, 6), (6, 6), (7, 10), (7, 10), (7, 10), (11, 11), (12, 12)
    ]  # fmt: skip


def test_those_of_the_core_do_too():
    most = Counter(each.name for each in known()).most_common(1)
    assert most[0][1] == 1


@pytest.mark.parametrize("path", [names.EQUIVALENT, names.MUST_BE_KILLED])
def test_the_lists_name_what_exists_and_say_why(path):
    entries = names.entries(path.read_text())
    assert all(entries.values()), [name for name, reason in entries.items() if not reason]
    assert len(names.chosen(known(), path)) == len(entries)


def test_a_name_without_its_number_means_all_that_are_alike(module, tmp_path):
    path = tmp_path / "list"
    path.write_text("# why\nmodule.py:1:1: [dropcall] report(a)\n    Because.\n")
    assert [each.line for each in names.chosen(module, path)] == [11, 12]
    path.write_text("module.py: one [arith] a + b - c, #2\n")
    assert [each.nth for each in names.chosen(module, path)] == [2]


@pytest.mark.parametrize(
    "name", ["module.py: one [cmp] report(a)", "module.py: two [dropcall] report(a)", "nonsense"]
)
def test_a_name_that_does_not_exist_is_an_error(module, tmp_path, name):
    path = tmp_path / "list"
    path.write_text(f"{name}\n    Why.\n")
    with pytest.raises(names.ListError, match="no such mutant"):
        names.chosen(module, path)


def test_a_run_that_was_stopped_has_a_rate_and_goes_on(tmp_path):
    path = tmp_path / "folder" / "outcomes"
    first = Outcomes(path, "code")
    first.begin()
    first.add("a.py f [num] 1", outcomes.KILLED, "test")
    first.add("a.py g [num] 1", outcomes.SURVIVED, "")
    first.add("b.py h [num] 1", outcomes.UNTRIED, "")
    with path.open("a") as file:
        file.write('{"mutant": "half a li')
    again = Outcomes(path, "code")
    again.read()
    assert again.known == first.known
    assert again.killers["a.py f [num] 1"] == "test"
    assert again.share == pytest.approx(0.5)
    said = again.report([*first.known, "c.py i [num] 1"])
    assert "1 of 2 killed: 50.0%" in said
    assert "1 are left" in said


def test_the_tests_that_are_run_exist():
    assert [path for path in program.TESTS if not (program.ROOT / path).is_dir()] == []
    assert (program.ROOT / program.LEFT_OUT).is_file()


def test_outcomes_of_other_code_say_nothing(tmp_path):
    path = tmp_path / "outcomes"
    path.write_text(json.dumps({"code": "old"}) + "\n")
    with pytest.raises(OtherCodeError):
        Outcomes(path, "new").read()
    (tmp_path / "a.py").write_text("1")
    before = outcomes.digest([str(tmp_path)])
    (tmp_path / "a.py").write_text("2")
    assert outcomes.digest([str(tmp_path)]) != before
