"""Whole histories, word for word: every order and every report, and what people see meanwhile.

Other tests ask for one thing; these show that nothing else happens. After a change that is
meant, `python -m tests.simulation.transcribe` writes them again.
"""

from __future__ import annotations

import difflib

import pytest

from tests.simulation import transcribe
from tests.simulation.transcribe import HISTORIES

WRITE_AGAIN = "if that is meant, `python -m tests.simulation.transcribe` writes it again"


@pytest.mark.parametrize("name", HISTORIES)
def test_it_happens_as_written(name):
    known = (transcribe.FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    found = transcribe.written(HISTORIES[name])
    changed = difflib.unified_diff(known.splitlines(), found.splitlines(), lineterm="", n=4)
    text = "\n".join(changed)
    assert not text, f"{name}; {WRITE_AGAIN}:\n{text}"


def test_each_transcript_has_a_history():
    assert {path.stem for path in transcribe.FOLDER.glob("*.txt")} == set(HISTORIES)


def test_a_file_that_says_nothing_means_this():
    assert transcribe.defaults() == transcribe.DEFAULTS.read_text(encoding="utf-8")
