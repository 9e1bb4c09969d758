"""The process tree: parentage, and the worker that a reparented process comes from.

Parentage is the kernel's: a process whose parent ends becomes a child of PID 1 (or of the
nearest subreaper), and nothing in it shows where it came from. So each worker is
started with a mark that names the run and the incarnation, twice, and programs inherit both:

- The soft limit RLIMIT_LOCKS, which Linux keeps and has not used since 2.4.25 (getrlimit(2)). It
  outlives `env -i`, servers that write their title over their environment (nginx, PostgreSQL)
  and changes of the user, and every user can read it in /proc/PID/limits.
- A variable of the environment, for programs that set limits anew (`su`) and runtimes without
  such limits. /proc/PID/environ shows what a program was started with (proc_pid_environ(5)).

A program can drop both: such a process belongs to no worker, and lives until the container ends. It
can also forge the mark of a sibling. That harms only the program that forges it.

A pid alone does not identify a process: it is reused after the process was reaped. Together with
the start time it does (`Process`); `signal` makes sure of that.
"""

from __future__ import annotations

import os
from binascii import hexlify

from entrypoint.core.record import Record

from . import proc
from .credentials import look_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Container, Iterable
else:
    import _signal

# The variable of the mark: `RUN:INCARNATION:APP`.
VARIABLE = "PYINIT_WORKER"

# The most processes that one call returns.
LIMIT = 4096

# The most threads whose children are read one by one. Above that one pass over /proc is
# cheaper (a JVM has hundreds of threads, and each may have children).
_THREADS = 512

# The most bytes of an environment that are searched. execve(2) takes up to 6 MiB.
_ENVIRONMENT = 1 << 20

_run = hexlify(os.urandom(8)).decode()

# Layout of the limit: 36 bits of the run, then those of the incarnation. Below 2**62, which every
# interface supports.
RLIMIT_LOCKS = 10
_BITS = 26
_RUN = int(_run[:9], 16)

# The apps of the newest incarnations; the limit has no room for a name.
_apps: dict[int, str] = {}
_KEPT = 8192


class Process(Record):
    """A process that cannot be confused with a later one of the same pid.

    `started` is in clock ticks since boot.
    """

    pid: int
    started: int


class Mark(Record):
    """The content of a process's mark: the worker it comes from."""

    incarnation: int
    app: str


def mark(incarnation: int, app: str) -> str:
    """The value of `VARIABLE` for a worker of this run."""
    return f"{_run}:{incarnation}:{app}"


def limit_mark(incarnation: int, app: str) -> int:
    """The soft RLIMIT_LOCKS of a worker of this run."""
    _apps[incarnation] = app
    if len(_apps) > _KEPT:
        del _apps[next(iter(_apps))]
    return (_RUN << _BITS) | (incarnation & ((1 << _BITS) - 1))


def descendants(pid: int, *, limit: int = LIMIT) -> tuple[int, ...]:
    """The processes below `pid` by parentage now, parents first; zombies too.

    At most `limit`. Empty where /proc shows another PID namespace. Not exact while the
    tree forks: a caller that needs all of it suspends it and asks again.
    """
    if not proc.is_ours():
        return ()
    found = [pid]
    seen = {pid}
    budget = _THREADS
    for member in found:
        below, cost = _children(member)
        budget -= cost
        if cost < 0 or budget < 0:
            return _by_one_pass(pid, limit)
        for child in below:
            if child not in seen:
                if len(found) > limit:
                    return tuple(found[1 : limit + 1])
                seen.add(child)
                found.append(child)
    return tuple(found[1 : limit + 1])


def children(pid: int) -> list[int]:
    """Its children, zombies too. Complete only while none of them ends meanwhile."""
    if not proc.is_ours():
        return []
    found, cost = _children(pid)
    if cost >= 0:
        return found
    return [each for each in proc.processes() if _parent(each) == pid]


def _children(pid: int) -> tuple[list[int], int]:
    """Its children and how many threads were read; -1 if one pass over /proc is better.

    That is: very many threads, or a kernel without CONFIG_PROC_CHILDREN (gVisor).
    """
    folder = f"/proc/{pid}/task"
    try:
        threads = os.listdir(folder)
    except OSError:
        return [], 0
    if len(threads) > _THREADS:
        return [], -1
    found: list[int] = []
    for thread in threads:
        path = f"{folder}/{thread}/children"
        content = proc.read(path)
        if content:
            found.extend(map(int, content.split()))
        elif thread == str(pid) and not os.path.exists(path) and os.path.exists(folder):
            return [], -1
    return found, len(threads)


def _by_one_pass(pid: int, limit: int) -> tuple[int, ...]:
    """`descendants` from the parents in one pass over all of /proc."""
    below: dict[int, list[int]] = {}
    for each in proc.processes():
        known = proc.stat(each)
        if known is not None:
            below.setdefault(known.parent, []).append(each)
    found = [pid]
    for member in found:
        # `pop`: pids reused during the pass could make a circle.
        found.extend(below.pop(member, ()))
        if len(found) > limit:
            break
    return tuple(found[1 : limit + 1])


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None for a zombie or if there is none."""
    known = proc.stat(pid)
    if known is None or known.state in "ZX":
        return None
    return Process(pid, known.started)


def lives(process: Process) -> bool:
    """Whether it still is the process that has its pid, and no zombie."""
    return identify(process.pid) == process


def signal(process: Process, number: int) -> bool:
    """Signal this very process; False if it is gone.

    Raises PermissionError if it may not be signalled. The pid cannot be another's by
    then: a pidfd refers to the process, and its start time is read after the pidfd was made.
    """
    try:
        held = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except (AttributeError, OSError):  # a kernel or a C library without it, EMFILE
        held = -1
    try:
        if not lives(process):
            return False
        if held >= 0:
            _signal.pidfd_send_signal(held, number)
        else:
            os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    finally:
        if held >= 0:
            os.close(held)
    return True


def mark_of(pid: int) -> Mark | None:
    """The worker that a process comes from; None if it has no mark of this run."""
    return _mark_in_limits(pid) or _mark_in_environment(pid)


def _mark_in_limits(pid: int) -> Mark | None:
    if not proc.is_ours():
        return None
    content = proc.read(f"/proc/{pid}/limits")
    at = content.find(b"Max file locks")
    words = content[at + 14 : at + 80].split(maxsplit=1) if at >= 0 else []
    if not words or not words[0].isdigit():
        return None
    value = int(words[0])
    incarnation = value & ((1 << _BITS) - 1)
    if value >> _BITS != _RUN or incarnation not in _apps:
        return None
    return Mark(incarnation, _apps[incarnation])


def _mark_in_environment(pid: int) -> Mark | None:
    """The mark; None also if it may not be read: a process that changed its user without exec."""
    prefix = f"{VARIABLE}={_run}:".encode()
    content = b"\0" + _environment(pid)
    at = content.find(b"\0" + prefix)
    if at < 0:
        return None
    value = content[at + 1 + len(prefix) :].split(b"\0", 1)[0]
    number, _, app = value.partition(b":")
    if not number.isdigit() or len(number) > 15:
        return None
    return Mark(int(number), os.fsdecode(app))


def _environment(pid: int) -> bytes:
    """The environment that the program was started with, read as its user where needed."""
    if not proc.is_ours() or proc.is_fetched(pid):
        return b""
    path = f"/proc/{pid}/environ"
    try:
        found: bytes = look_at(pid, lambda: _read(path))
    except OSError:
        return b""
    return found


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    content = b""
    try:
        while len(content) < _ENVIRONMENT and (chunk := os.read(fd, 65536)):
            content += chunk
    finally:
        os.close(fd)
    return content


def reparented(workers: Container[int] = (), *, limit: int = LIMIT) -> tuple[int, ...]:
    """The children of this process that are none of `workers` (pids), zombies omitted.

    As PID 1 or as a subreaper it did not start these: their parents have ended.
    """
    found: list[int] = []
    for child in own_children():
        if len(found) == limit:
            break
        if child not in workers and proc.alive(child):
            found.append(child)
    return tuple(found)


def own_children() -> list[int]:
    """The children of this process, zombies too."""
    return children(os.getpid())


def _parent(pid: int) -> int:
    known = proc.stat(pid)
    return 0 if known is None else known.parent


def marked(
    incarnation: int, roots: Iterable[int] | None = None, *, limit: int = LIMIT
) -> tuple[int, ...]:
    """The processes of a worker by its mark: `roots` that carry it, with all below them.

    `roots` are children of this process, by default all: reparented processes, and the
    worker itself. Parents first, at most `limit`.
    """
    found: list[int] = []
    for root in own_children() if roots is None else roots:
        said = mark_of(root)
        if said is not None and said.incarnation == incarnation:
            found.append(root)
            found.extend(descendants(root, limit=limit))
        if len(found) >= limit:
            break
    return tuple(found[:limit])
