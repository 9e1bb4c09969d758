"""The core imports nothing of the outside; PID 1 imports little."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
CORE = os.path.join(ROOT, "entrypoint", "core")

# Cost PID 1 milliseconds and memory, or threads (docs/decisions/0004-imports-of-pid-1.md).
LATE = {"dataclasses", "typing", "re", "enum", "signal", "socket", "json", "logging", "inspect"}
NEVER = {"asyncio", "ssl", "threading", "subprocess", "_ssl"}


def loaded_by(statement: str, *flags: str) -> set[str]:
    """Names of the modules that a fresh interpreter loads for it."""
    code = (
        f"import sys; sys.path.insert(0, {ROOT!r}); before = set(sys.modules); {statement}; "
        "after = set(sys.modules) - before; import json; print(json.dumps(sorted(after)))"
    )
    command = [sys.executable, *flags, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def imports_at_run_time(tree: ast.AST):
    """Import statements, but for those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            for other in node.orelse:
                yield from imports_at_run_time(ast.Module([other], []))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        else:
            yield from imports_at_run_time(node)


def test_the_source_of_the_core_names_only_the_core():
    for name in sorted(os.listdir(CORE)):
        if not name.endswith(".py"):
            continue
        with open(os.path.join(CORE, name), encoding="utf-8") as file:
            tree = ast.parse(file.read())
        for node in imports_at_run_time(tree):
            where = f"{name}:{node.lineno}"
            assert isinstance(node, ast.ImportFrom), where
            assert node.module == "__future__" or node.level == 1, where


def test_a_fresh_interpreter_loads_nothing_else_for_the_core():
    modules = [n[:-3] for n in sorted(os.listdir(CORE)) if n.endswith(".py") and n[0] != "_"]
    statement = "import " + ", ".join(f"entrypoint.core.{name}" for name in modules)
    loaded = loaded_by(statement, "-S", "-I")
    outside = {n for n in loaded if n.split(".")[0] != "entrypoint"} - {"__future__"}
    assert not outside
    assert loaded - {"__future__", "entrypoint", "entrypoint.core"} == {
        f"entrypoint.core.{name}" for name in modules
    }


def test_the_run_path_loads_nothing_dear_before_its_first_worker():
    loaded = loaded_by("import entrypoint.shell.runtime, entrypoint.boot", "-S", "-I")
    assert not loaded & (LATE | NEVER)
