from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_diagram_is_that_of_the_table():
    path = ROOT / "docs" / "explanation" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate_core", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.PAGE.read_text(encoding="utf-8")
    assert text == module.page(text), "run `python docs/explanation/generate.py`"
    written = module.TABLES.read_text(encoding="utf-8")
    assert written == module.tables(), "run `python docs/explanation/generate.py`"
