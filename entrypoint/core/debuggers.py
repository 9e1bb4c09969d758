"""Ports of debuggers that a worker's command line asks for: no client of the app goes there.

They open first, before the program that is debugged has run a line. Only what is written in the
command or in the variables that these runtimes read is known.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec

# Node, Deno and Bun: `--inspect[=[HOST:]PORT]` and its variants; 9229 and, in the processes of
# Node's cluster, those above it.
_INSPECT = re.compile(r"--inspect(?:-brk|-wait|-port)?(?:=(\S*))?")
_NODE = range(9229, 9329)
# The JVM's: `-agentlib:jdwp=transport=dt_socket,server=y,address=[HOST:]PORT`.
_JDWP = re.compile(r"(?:-agentlib:|-Xrun)jdwp\b\S*?\baddress=([^,\s]+)")
# `python -m debugpy --listen [HOST:]PORT`, `dlv exec --listen=[HOST]:PORT`.
_LISTEN = re.compile(r"\b(?:debugpy|dlv)\b.*?--listen[ =](\S+)")
_VARIABLES = ("NODE_OPTIONS", "BUN_OPTIONS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS")


def ports(spec: AppSpec) -> frozenset[int]:
    """The TCP ports on which debuggers of this app's workers may listen."""
    texts = [" ".join(spec.command)]
    texts += [value for name, value in spec.env if name in _VARIABLES]
    found: set[int] = set()
    for text in texts:
        for inspect in _INSPECT.finditer(text):
            port = _port(inspect[1] or "")
            found.update(_NODE if port in (0, _NODE.start) else (port,))
        for pattern in (_JDWP, _LISTEN):
            found.update(_port(match[1]) for match in pattern.finditer(text))
    return frozenset(found - {0})


def _port(address: str) -> int:
    """Of `PORT`, `HOST:PORT`, `[HOST]:PORT`; 0 where there is none."""
    text = address.rpartition(":")[2]
    return int(text) if text.isdigit() and len(text) < 6 else 0
