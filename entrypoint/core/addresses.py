"""Which addresses a worker has to accept on before it counts as ready.

These are the addresses that the file declares. Without a `listen` they are the TCP ports of the
previous worker; at a first start, any one address that clients may use.
"""

from __future__ import annotations

from . import health
from .lifecycle import shares_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .spec import AppSpec
    from .transaction import Transaction
    from .worker import Worker

# A port that a worker opens after its start counts as a port that it serves once it has been
# open for this long. Shorter-lived ports are for one transfer, such as FTP's (s).
LASTING = 10.0


def key_of(address: str, declared: str) -> str:
    """Key of an address in later releases: its declared text, else its port or path."""
    if declared or address.startswith("unix:"):
        return declared or address
    return ":" + address.rpartition(":")[2]


def required(tx: Transaction, worker: Worker) -> tuple[str, ...]:
    """Addresses on all of which the worker has to accept; () if any one is enough."""
    spec = worker.spec
    if spec.listen and shares_port(spec):
        return tuple(each.text for each in spec.listen if not each.optional)
    instance = tx.instance(worker.app, worker.instance)
    return instance.served if instance is not None else ()


def counts(tx: Transaction, worker: Worker, key: str) -> bool:
    """Whether readiness depends on accepting at this address."""
    spec = worker.spec
    needed = required(tx, worker)
    if needed and not may_move(tx, worker):
        return key in needed
    if spec.listen and shares_port(spec):
        return key in needed if needed else any(key == each.text for each in spec.listen)
    return is_public(worker, key)


def is_public(worker: Worker, key: str) -> bool:
    """Whether clients may use an undeclared address. Other addresses are never probed.

    Unix sockets are often for control or debugging, or for libraries that connect the
    processes of a program (Python's multiprocessing). A port that the kernel chose may be
    a program's own test server. A probe would harm some of these.
    """
    if not key.startswith(":") or key in worker.chosen:
        return False
    return int(key[1:]) not in debugger_ports(worker.spec)


def accepts(tx: Transaction, worker: Worker) -> bool:
    """Whether the worker was seen to accept on every address that it has to."""
    needed = required(tx, worker)
    if needed:
        return has_all(tx, worker, needed, worker.accepting)
    return any(counts(tx, worker, key) for key in worker.accepting)


def may_move(tx: Transaction, worker: Worker) -> bool:
    """Whether its settings differ from the previous worker's, so that its port may differ too."""
    if worker.spec.listen and shares_port(worker.spec):
        return False
    instance = tx.instance(worker.app, worker.instance)
    return instance is not None and worker.spec != (instance.before or instance.spec)


def has_all(tx: Transaction, worker: Worker, needed: tuple[str, ...], seen: Iterable[str]) -> bool:
    """Whether all needed addresses were seen. Another port may replace one that moved."""
    found = set(seen)
    if found.issuperset(needed):
        return True
    debugger_ports = [key for key in found if is_public(worker, key)]
    return may_move(tx, worker) and len(debugger_ports) >= len(needed)


def has_port(tx: Transaction, worker: Worker) -> bool:
    """Whether the worker listens on a port, or is expected to."""
    if worker.spec.listen and shares_port(worker.spec):
        return True
    listens = any(counts(tx, worker, key) for key, _ in worker.listening)
    return listens or bool(required(tx, worker))


def sibling_serves(tx: Transaction, worker: Worker) -> bool:
    """Whether another instance of the same spec serves on a port, so this one may have to."""
    return any(
        other.incarnation != worker.incarnation
        and other.spec == worker.spec
        and any(counts(tx, other, key) for key in other.accepting)
        for other in tx.workers(worker.app)
    )


def served_by(worker: Worker, now: float) -> tuple[str, ...]:
    """Undeclared addresses that the worker's successor has to serve too."""
    declared = {each.text for each in worker.spec.listen}
    bound = worker.up_at + health.launch_bound(worker.spec)
    return tuple(
        key
        for key, since in worker.listening
        if key not in declared
        and key not in worker.passing
        and (since <= bound or now - since >= LASTING)
        and is_public(worker, key)
    )


# -- ports of debuggers ------------------------------------------------------------------
# No client of the app connects to a debugger's port. It opens first, before the program runs its
# first line. The ports are read from the command and the variables that these runtimes use.

# Node, Deno and Bun: `--inspect[=[HOST:]PORT]` and its variants; 9229 and, in the processes of
# Node's cluster, those above it.
_INSPECT = ("--inspect", "--inspect-brk", "--inspect-wait", "--inspect-port")
_NODE = range(9229, 9329)
# `-agentlib:jdwp=transport=dt_socket,server=y,address=[HOST:]PORT`.
_JDWP = ("-agentlib:jdwp=", "-Xrunjdwp:")
# `python -m debugpy --listen [HOST:]PORT`, `dlv exec --listen=[HOST]:PORT`.
_LISTENERS = ("debugpy", "dlv")
_VARIABLES = ("NODE_OPTIONS", "BUN_OPTIONS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS")


def debugger_ports(spec: AppSpec) -> frozenset[int]:
    """The TCP ports on which debuggers of this app's workers may listen."""
    # A shell's command line is one word.
    words = " ".join(spec.command).split()
    for name, value in spec.env:
        if name in _VARIABLES:
            words += value.split()
    return frozenset(port for port in _ports_of_words(words) if port)


def _ports_of_words(words: list[str]) -> Iterator[int]:
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
    """Port of `PORT`, `HOST:PORT` or `[HOST]:PORT`; 0 if there is none."""
    text = address.rpartition(":")[2]
    return int(text) if text.isdigit() and len(text) < 6 else 0
