"""The files of the package: how long they are, in which folders, and which imports which."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "entrypoint"

LINES = 450
# The longer ones, each with its bound and the reason.
LONGER = {
    "config/keys.py": (690, "a table: a key and its meaning in each line"),
}

# Loaded at once, loaded in a function, or for the type checker only.
AT_ONCE, IN_CALL, TYPES = "at once", "in a call", "types"

# The folders that the files of a folder may import; `entrypoint/` itself has four files.
# docs/explanation/core.md shows the same table.
ROOT_FILES = {"__main__", "boot", "cli", "loop"}
MAY_IMPORT = {
    "core": set(),
    "kernel": {"core"},
    "logs": {"core", "kernel", "loop"},
    "watch": {"kernel", "loop"},
    "journal": {"core", "logs"},
    "sockets": {"core", "kernel", "loop"},
    "http": {"api", "core", "kernel", "loop"},
    "checks": {"core", "kernel", "loop", "shell", "sockets"},
    "metrics": {"api", "core", "kernel", "loop"},
    "page": {"api", "loop", "metrics"},
    "api": {"core", "kernel", "logs", "loop"},
    "config": {"core", "kernel", "logs", "shell", "sockets", "watch"},
    "client": {"api", "core", "journal", "kernel", "logs"},
    "shell": {
        *("api", "checks", "config", "core", "http", "journal", "kernel", "logs", "loop"),
        *("metrics", "page", "sockets", "watch"),
    },
}

# A folder imports those before it; what else it imports has a reason.
LAYERS = (
    *("core", "loop", "kernel", "logs", "watch", "sockets", "journal"),
    *("api", "http", "metrics", "page", "checks", "shell", "config", "client"),
)
AGAINST_LAYERS = {
    ("checks", "shell"): "the command of a check is started as its worker is (spawn_request.py)",
    ("shell", "config"): "in the child that reads a file (loader.py)",
}

# Modules of the standard library that are the system's calls, and functions of `os` and of
# sockets that make or change something of the system. Outside `kernel/` only these files use them
# at run time. `client` and `config` run in processes of their own. A socket or a descriptor that
# a file was given may be read, written, listened on and closed anywhere.
SYSTEM = {
    *("_signal", "_socket", "ctypes", "fcntl", "grp", "mmap", "pwd", "resource", "select"),
    *("signal", "socket", "subprocess", "termios"),
}
MAKERS = {
    *("chmod", "chown", "execv", "execve", "fchown", "fork", "kill", "killpg", "mkdir", "openpty"),
    *("pidfd_open", "posix_spawn", "rename", "rmdir", "setpgid", "setsid", "setsockopt", "socket"),
    *("socketpair", "tcsetpgrp", "unlink", "wait4", "waitid", "waitpid"),
}
SYSTEM_CALLS = {
    "boot": ({"_signal"}, "a stop during the import of the rest"),
    "loop": ({"select"}, "the event loop is epoll"),
    "logs.boot_messages": ({"select"}, "errors before anything else is loaded"),
    "shell.command": (
        {"_signal", "kill", "tcsetpgrp"},
        "`pyinit -- CMD` loads 13 modules and has no core",
    ),
    "api.socket_path": (
        {"_socket", "rename", "socket", "unlink"},
        "the client finds the socket by the same file, without the kernel's modules",
    ),
    "http.server": ({"_socket", "socket"}, "an accepted descriptor becomes a socket"),
    "sockets.inherited": ({"_socket", "socket"}, "a descriptor of LISTEN_FDS becomes a socket"),
    "sockets.declared_address": ({"_socket"}, "inet_pton(3) is no system call"),
    "sockets.node_protocol": ({"_socket"}, "inet_pton(3) is no system call"),
    "sockets.sockaddr": ({"_socket"}, "inet_ntop(3) is no system call"),
    **dict.fromkeys(
        (
            *("api.line_stream", "http.connection", "page.viewer", "sockets.accept_probe"),
            *(
                "sockets.created_sockets",
                "sockets.in_hand",
                "sockets.node_channel",
                "sockets.relay",
            ),
        ),
        ({"_socket"}, "constants for a socket that it was given"),
    ),
}

Edges = list[tuple[str, str]]


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_type_checking(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports_of(name: str, source: str, known: set[str], *, package: bool) -> Edges:
    """The modules of the package that this one imports, and how."""
    folder = name.split(".") if package else name.split(".")[:-1]
    found: Edges = []

    def take(node: ast.Import | ast.ImportFrom, how: str) -> None:
        if isinstance(node, ast.Import):
            found.extend((each.name, how) for each in node.names if each.name in known)
            return
        base = node.module or ""
        if node.level:
            above = folder[: len(folder) - node.level + 1]
            base = ".".join((*above, *((node.module,) if node.module else ())))
        for each in node.names:
            inner = f"{base}.{each.name}"
            if inner in known or base in known:
                found.append((inner if inner in known else base, how))

    def visit(nodes: list[ast.stmt], how: str) -> None:
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                take(node, how)
            elif isinstance(node, ast.If) and is_type_checking(node):
                visit(node.body, TYPES)
                visit(node.orelse, how)
            else:
                inner = how
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and how != TYPES:
                    inner = IN_CALL
                for field in ("body", "orelse", "finalbody"):
                    visit(getattr(node, field, []), inner)
                for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                    visit(part.body, inner)

    visit(ast.parse(source).body, AT_ONCE)
    return [(target, how) for target, how in found if target != name]


@pytest.fixture(scope="module")
def graph() -> dict[str, Edges]:
    known = modules()
    return {
        name: imports_of(
            name, path.read_text("utf-8"), set(known), package=path.name == "__init__.py"
        )
        for name, path in known.items()
    }


def folder_of(name: str) -> str:
    """`core` of `entrypoint.core.spec`, `loop` of `entrypoint.loop`, "" of the package."""
    return name.partition(".")[2].partition(".")[0]


def circle(graph: dict[str, Edges], kinds: set[str]) -> list[str]:
    """The first circle of files, or nothing."""
    sorter = TopologicalSorter(
        {name: {to for to, how in edges if how in kinds} for name, edges in graph.items()}
    )
    try:
        sorter.prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_file_is_too_long() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text("utf-8").splitlines())
        for path in modules().values()
    }
    bounds = {name: LONGER.get(name, (LINES, ""))[0] for name in lengths}
    assert {name: size for name, size in lengths.items() if size > bounds[name]} == {}
    # What is short enough now needs no exception.
    short = {name for name in LONGER if lengths.get(name, 0) <= LINES}
    assert not short


@pytest.mark.parametrize("kinds", [{AT_ONCE}, {AT_ONCE, IN_CALL}, {AT_ONCE, IN_CALL, TYPES}])
def test_no_circle_of_files(graph: dict[str, Edges], kinds: set[str]) -> None:
    assert circle(graph, kinds) == []


def test_a_circle_is_found() -> None:
    known = {"entrypoint.a.x", "entrypoint.a.y", "entrypoint.b.z"}
    sources = {
        "entrypoint.a.x": "from . import y\n",
        "entrypoint.a.y": "def later():\n    try:\n        import entrypoint.b.z\n"
        "    except ImportError:\n        pass\n",
        "entrypoint.b.z": "if TYPE_CHECKING:\n    from entrypoint.a.x import X\n",
    }
    graph = {n: imports_of(n, text, known, package=False) for n, text in sources.items()}
    assert graph == {
        "entrypoint.a.x": [("entrypoint.a.y", AT_ONCE)],
        "entrypoint.a.y": [("entrypoint.b.z", IN_CALL)],
        "entrypoint.b.z": [("entrypoint.a.x", TYPES)],
    }
    assert circle(graph, {AT_ONCE, IN_CALL}) == []
    assert len(circle(graph, {AT_ONCE, IN_CALL, TYPES})) == 4


def test_few_files_are_in_no_folder() -> None:
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == {*ROOT_FILES, "__init__"}
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(MAY_IMPORT)


def test_folders_import_what_they_may(graph: dict[str, Edges]) -> None:
    """For the type checker anything may be named: test_no_circle_of_files bounds it."""
    found: dict[str, set[str]] = {folder: set() for folder in MAY_IMPORT}
    against = []
    for name, edges in graph.items():
        folder = folder_of(name)
        if folder not in MAY_IMPORT:
            continue
        for target, how in edges:
            to = folder_of(target)
            if how == TYPES or to in ("", folder):
                continue  # "": the version
            found[folder].add(to)
            if to not in MAY_IMPORT[folder]:
                against.append(f"{name} imports {target} ({how})")
    assert against == []
    # What is not used any more is no longer allowed.
    assert found == MAY_IMPORT


def test_imports_follow_the_layers() -> None:
    assert {*LAYERS} == {*MAY_IMPORT, "loop"}
    against = {
        (folder, other)
        for folder, others in MAY_IMPORT.items()
        for other in others
        if LAYERS.index(other) > LAYERS.index(folder)
    }
    assert against == set(AGAINST_LAYERS)
    page = " ".join((ROOT / "docs/explanation/core.md").read_text("utf-8").split())
    for reason in AGAINST_LAYERS.values():
        assert reason.partition(" (")[0] in page, reason


def test_the_kernel_imports_records_alone(graph: dict[str, Edges]) -> None:
    targets = {
        target
        for name, edges in graph.items()
        for target, _ in edges
        if folder_of(name) == "kernel" and folder_of(target) != "kernel"
    }
    assert targets == {"entrypoint.core.record"}


def system_calls(tree: ast.Module) -> set[str]:
    """What of SYSTEM and MAKERS is used at run time."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and is_type_checking(node):
            for other in node.orelse:
                visit(other)
            return
        if isinstance(node, ast.Import):
            found.update(SYSTEM.intersection(each.name for each in node.names))
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module in SYSTEM:
            found.add(node.module)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            of_system = isinstance(owner, ast.Name) and owner.id in ("os", "_socket", "socket")
            if node.func.attr in MAKERS and (of_system or node.func.attr == "setsockopt"):
                found.add(node.func.attr)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def test_system_calls_are_in_the_kernel() -> None:
    used = {}
    for name, path in modules().items():
        if folder_of(name) in ("kernel", "client", "config"):
            continue
        calls = system_calls(ast.parse(path.read_text("utf-8")))
        if calls:
            used[name.partition(".")[2]] = calls
    assert used == {name: calls for name, (calls, _) in SYSTEM_CALLS.items()}


def test_pid_1_reads_files_in_a_child_alone(graph: dict[str, Edges]) -> None:
    """`shell/loader.py` imports the reader of files in its child; nothing imports commands."""
    importers = {
        name
        for name, edges in graph.items()
        for target, how in edges
        if how != TYPES
        and folder_of(target) in ("config", "client")
        and folder_of(name) not in ("config", "client", "boot", "cli")
    }
    assert importers == {"entrypoint.shell.loader"}


def test_the_page_shows_the_table() -> None:
    page = (ROOT / "docs/explanation/core.md").read_text("utf-8")
    for folder, others in MAY_IMPORT.items():
        row = f"| `{folder}` | {', '.join(f'`{each}`' for each in sorted(others)) or 'nothing'} |"
        assert row in page, row
