"""Cheap readers of /proc: state, parents, memory of processes (`proc_pid_stat(5)`).

Each returns None or an empty value for a process that is gone: any process may be gone
by the time it is read.
"""

from __future__ import annotations

import os
import resource

from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Container, Iterator
else:
    import _signal

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


# include/linux/sched.h, in the flags of /proc/PID/stat.
_PF_EXITING = 0x4


class ProcessStat(Record):
    """Fields of /proc/PID/stat. `state` is a letter (`R S D Z T t X I`).

    `started` is in clock ticks since boot (pid and start time together identify a process),
    `cpu` in seconds, `rss` in bytes.
    """

    pid: int
    state: str
    parent: int
    group: int
    session: int
    started: int
    cpu: float
    rss: int


def read(path: str) -> bytes:
    """A file of /proc, or b"" if it is missing or may not be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        content = b""
        while chunk := os.read(fd, 65536):
            content += chunk
    except OSError:  # ESRCH: it ended between open and read
        return b""
    finally:
        os.close(fd)
    return content


_ours: bool | None = None


def is_ours() -> bool:
    """Whether /proc exists and shows this PID namespace.

    The /proc of another namespace (`-v /proc:/proc`, a shared mount) has other
    processes under the same pids: no data is better than those.
    """
    global _ours  # noqa: PLW0603  asked for each process, and it does not change
    if _ours is None:
        try:
            _ours = os.readlink("/proc/self") == str(os.getpid())
        except OSError:
            _ours = False
    return _ours


def of(pid: int | str, name: str) -> bytes:
    """A file of a process of this namespace, or of "self"; b"" if it cannot be read."""
    return read(f"/proc/{pid}/{name}") if pid == "self" or is_ours() else b""


def stat(pid: int) -> ProcessStat | None:
    """The process's present values, also of a zombie; None if there is none."""
    content = of(pid, "stat")
    # The name stands in parentheses and may hold any byte, also ")" and spaces.
    _, _, rest = content.rpartition(b") ")
    fields = rest.split()
    if len(fields) < 22:
        return None
    return ProcessStat(
        pid,
        fields[0].decode("ascii", "replace"),
        int(fields[1]),
        int(fields[2]),
        int(fields[3]),
        int(fields[19]),
        (int(fields[11]) + int(fields[12])) / TICKS,
        int(fields[21]) * PAGE,
    )


def is_ending(pid: int) -> bool:
    """Whether it is a zombie, gone, or ending (PF_EXITING): its files may be closed."""
    fields = of(pid, "stat").rpartition(b") ")[2].split()
    if len(fields) < 7 or fields[0] in (b"Z", b"X"):
        return True
    return bool(int(fields[6]) & _PF_EXITING)


class Usage(Record):
    """Resources that a process has used: fields of /proc/PID/stat.

    `cpu` in seconds, with that of children it has waited for; `rss` and `virtual` in bytes.
    """

    parent: int
    group: int
    cpu: float
    threads: int
    virtual: int
    rss: int


def usage(pid: int | str) -> Usage | None:
    """The process's present values, also of a zombie; None if there is none."""
    fields = of(pid, "stat").rpartition(b") ")[2].split()
    if len(fields) < 22:
        return None
    return Usage(
        int(fields[1]),
        int(fields[2]),
        (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / TICKS,
        int(fields[17]),
        int(fields[20]),
        int(fields[21]) * PAGE,
    )


# Limit for counting descriptors one by one, if the kernel does not report their number.
_COUNTED_FILES = 4096


def open_files(pid: int | str) -> int | None:
    """The number of its descriptors; None if it is not readable, or would take long."""
    if pid != "self" and not is_ours():
        return None
    path = f"/proc/{pid}/fd"
    try:
        # Since Linux 6.2 the folder's size is their number (proc_pid_fd(5)).
        if size := os.stat(path).st_size:
            return size
        count = 0
        with os.scandir(path) as entries:
            for _ in entries:
                count += 1
                if count > _COUNTED_FILES:
                    return None
    except OSError:
        return None
    return count


def proportional(pid: int) -> int | None:
    """Proportional set size in bytes; None if it is gone or not readable.

    The kernel reads each page: 10 ms for a gigabyte.
    """
    for line in of(pid, "smaps_rollup").split(b"\n", 4):
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return None


def network_counters(table: str, names: tuple[str, ...]) -> dict[str, int]:
    """The available counters of /proc/net/netstat of pyinit's network namespace."""
    found: list[list[str]] = []
    for line in read("/proc/self/net/netstat").decode("ascii", "replace").splitlines():
        words = line.split()
        if words and words[0] == f"{table}:":
            found.append(words)
    if len(found) < 2:
        return {}
    return {
        name: int(value)
        for name, value in zip(found[0], found[1], strict=False)
        if name in names and value.isdigit()
    }


# Signals that do nothing to a process without a handler (signal(7)).
_HARMLESS = frozenset(
    int(number) for number in (_signal.SIGCHLD, _signal.SIGCONT, _signal.SIGURG, _signal.SIGWINCH)
)


def heeds(pid: int, signum: int) -> bool:
    """Whether the signal affects the process: it has a handler, or the default ends it.

    True also where that cannot be known.
    """
    sets = _signal_sets(pid, signum)
    if len(sets) < 2:
        return True
    return bool(sets[b"SigCgt"]) or not (sets[b"SigIgn"] or signum in _HARMLESS)


def catches(pid: int, signum: int) -> bool:
    """Whether the process has a handler for the signal. False also if that cannot be known."""
    return bool(_signal_sets(pid, signum).get(b"SigCgt"))


def _signal_sets(pid: int, signum: int) -> dict[bytes, int]:
    """Whether it ignores (`SigIgn`) and catches (`SigCgt`) the signal, as 0 or 1."""
    sets = {}
    for line in of(pid, "status").split(b"\n"):
        if line.startswith((b"SigIgn:", b"SigCgt:")):
            sets[line[:6]] = int(line[7:], 16) >> (signum - 1) & 1
    return sets


def process_of(thread: int) -> int:
    """The process of a thread; 0 if it has ended."""
    for line in of(thread, "status").split(b"\n", 8):
        if line.startswith(b"Tgid:"):
            return int(line.split()[1])
    return 0


# Processes whose memory a child reads now (memory.py), once for each child.
fetched: list[int] = []


def is_fetched(pid: int) -> bool:
    """Whether a child reads memory of this process, or of this thread's, possibly for long.

    It holds the lock of the address space meanwhile: no other code may wait for that.
    """
    return bool(fetched) and process_of(pid) in fetched


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    found = stat(pid)
    return found is not None and found.state not in "ZX"


def rss(pid: int) -> int:
    """Resident memory in bytes, shared pages included; 0 if it is gone."""
    fields = of(pid, "statm").split()
    return int(fields[1]) * PAGE if len(fields) > 1 else 0


def name(pid: int) -> str:
    """The name as in `ps -o comm`; "" if it is gone. A command line may hold secrets."""
    return of(pid, "comm").decode("utf-8", "replace").strip()


def command(pid: int) -> tuple[str, ...]:
    """The argument vector; empty for a zombie, a kernel thread or none."""
    content = of(pid, "cmdline")
    if not content:
        return ()
    return tuple(os.fsdecode(part) for part in content.removesuffix(b"\0").split(b"\0"))


def namespace_pids(pid: int | str = "self") -> tuple[int, ...]:
    """Its pid in each PID namespace, from that of /proc inwards; empty if unknown."""
    for line in read(f"/proc/{pid}/status").split(b"\n"):
        if line.startswith(b"NSpid:"):
            return tuple(int(word) for word in line.split()[1:])
    return ()


def children(pid: int) -> tuple[int, ...]:
    """Its children, zombies too. Complete only while none of them ends meanwhile."""
    path = f"/proc/{pid}/task"
    if not is_ours():
        return ()
    try:
        threads = os.listdir(path)
    except OSError:
        return ()
    # Not every kernel has `children` (CONFIG_PROC_CHILDREN; gVisor has not).
    if not os.path.exists(f"{path}/{pid}/children"):
        return tuple(p for p in processes() if (s := stat(p)) is not None and s.parent == pid)
    found: list[int] = []
    for thread in threads:
        found.extend(int(word) for word in read(f"{path}/{thread}/children").split())
    return tuple(found)


def processes() -> tuple[int, ...]:
    """All pids of this namespace that /proc shows."""
    return (
        () if not is_ours() else tuple(int(name) for name in os.listdir("/proc") if name.isdigit())
    )


def walk(pid: int) -> Iterator[int]:
    """`pid` and everything below it, parents first, one step at a time: 50 µs for each."""
    found = [pid]
    seen = {pid}
    for member in found:
        yield member
        for child in children(member):
            if child not in seen:
                seen.add(child)
                found.append(child)


def tree(pid: int) -> tuple[int, ...]:
    """The same at once."""
    return tuple(walk(pid))


def tree_rss(pid: int) -> int:
    """Resident memory of the whole tree in bytes; pages shared among it count for each."""
    return sum(rss(member) for member in tree(pid))


class Scheduled(Record):
    """A thread and its CPU: the seconds that it had one, and that it waited for one.

    A wait that is not over yet is not in `waited`; `runnable`: it runs, or waits now.
    """

    ran: float
    waited: float
    runnable: bool


def scheduled(pid: int, at_most: int = 200) -> dict[int, Scheduled]:
    """The first threads of the whole tree, by their numbers; empty if the kernel has no data.

    /proc/PID/task/TID/schedstat (sched-stats in the kernel's documentation).
    """
    found: dict[int, Scheduled] = {}
    if not is_ours():
        return found
    for member in walk(pid):
        try:
            threads = os.listdir(f"/proc/{member}/task")
        except OSError:
            continue
        for thread in threads:
            if len(found) >= at_most:
                return found
            folder = f"/proc/{member}/task/{thread}"
            numbers = read(f"{folder}/schedstat").split()
            state = read(f"{folder}/stat").rpartition(b") ")[2][:1]
            if len(numbers) > 1:
                ran, waited = int(numbers[0]) / 1e9, int(numbers[1]) / 1e9
                found[int(thread)] = Scheduled(ran, waited, state == b"R")
    return found


def owner(pid: int, workers: Container[int]) -> int:
    """The one of `workers` (pids) that the process belongs to; 0 for none.

    By its ancestors, and, for one whose parents are gone, by its process group: each
    worker leads its own.
    """
    if pid in workers:
        return pid
    member = stat(pid)
    if member is None:
        return 0
    group = member.group
    # Bounded: parents may change meanwhile.
    for _ in range(256):
        if member is None or member.parent <= 1:
            break
        if member.parent in workers:
            return member.parent
        member = stat(member.parent)
    return group if group in workers else 0


# -- this process ------------------------------------------------------------------------


def used() -> tuple[float, int]:
    """CPU time (s), and how often it has waited for something (voluntary context switches).

    Between two calls with the same number of waits all time that is not CPU time was a wait for a
    CPU.
    """
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime, found.ru_nvcsw


def faults_and_waits() -> tuple[int, int]:
    """How often it waited for a page to be read, and for anything."""
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_majflt, found.ru_nvcsw


def used_by_children() -> float:
    """CPU time (s) of the processes that it has reaped."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime
