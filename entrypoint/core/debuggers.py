"""Ports of debuggers that a worker's command line asks for: no client of the app goes there.

They open first, before the program that is debugged has run a line. Only what is written in the
command or in the variables that these runtimes read is known.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .spec import AppSpec

# Node, Deno and Bun: `--inspect[=[HOST:]PORT]` and its variants; 9229 and, in the processes of
# Node's cluster, those above it.
_INSPECT = ("--inspect", "--inspect-brk", "--inspect-wait", "--inspect-port")
_NODE = range(9229, 9329)
# `-agentlib:jdwp=transport=dt_socket,server=y,address=[HOST:]PORT`.
_JDWP = ("-agentlib:jdwp=", "-Xrunjdwp:")
# `python -m debugpy --listen [HOST:]PORT`, `dlv exec --listen=[HOST]:PORT`.
_LISTENERS = ("debugpy", "dlv")
_VARIABLES = ("NODE_OPTIONS", "BUN_OPTIONS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS")


def ports(spec: AppSpec) -> frozenset[int]:
    """The TCP ports on which debuggers of this app's workers may listen."""
    # A shell's command line is one word.
    words = " ".join(spec.command).split()
    for name, value in spec.env:
        if name in _VARIABLES:
            words += value.split()
    return frozenset(port for port in _ports(words) if port)


def _ports(words: list[str]) -> Iterator[int]:
    debugger = False
    for at, word in enumerate(words):
        flag, equals, value = word.partition("=")
        debugger = debugger or word.rpartition("/")[2] in _LISTENERS
        if flag in _INSPECT:
            port = _port(value) if equals else _NODE.start
            yield from _NODE if port == _NODE.start else (port,)
        elif debugger and flag == "--listen":
            yield _port(value if equals else "".join(words[at + 1 : at + 2]))
            debugger = False
        for prefix in _JDWP:
            if word.startswith(prefix):
                for option in word.removeprefix(prefix).split(","):
                    yield _port(option.removeprefix("address=")) if "address=" in option else 0


def _port(address: str) -> int:
    """Of `PORT`, `HOST:PORT`, `[HOST]:PORT`; 0 where there is none."""
    text = address.rpartition(":")[2]
    return int(text) if text.isdigit() and len(text) < 6 else 0
