"""Which processes end with a worker, and how they are found and signalled.

By `treekill` these are only the process, its process group, the group and every descendant
with any group or session (`tree`, the default), or also processes reparented earlier
(`all`). The kernel handles the group: kill(2) reaches all of it at once, and it exists as
long as one member does. *Members* here are processes outside of it.

A stop works in rounds, so that a large tree does not hold up the loop:

1. Walk the tree by parentage, from the worker down. For SIGKILL each process is suspended
   when it is found: a suspended parent does not fork, so the walk is complete when a
   pass finds nothing new. That ends even a worker that forks endlessly.
2. Then send the signal once to the group and to each member. Not during the walk: children of
   a parent that ends are reparented before the walk has seen them.

After the worker's end its children are children of PID 1. Children of a stopped worker that
the walk missed, because they started later, are found by their session and by the mark
in their environment (kernel/tree.py); they get the signal that the others got.
"""

from __future__ import annotations

from collections import deque

from entrypoint.kernel import (
    kill,
    proc,
    signals,
    tree,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from entrypoint.loop import Loop

# How long one round may take (s). The next one follows in a later turn of the loop.
ROUND = 0.008

# The most members of a family. The end of the container ends a fork bomb beyond that.
MOST = 4096

# Passes over the tree before SIGKILL. Each pass after the first sees only processes forked during
# the one before, which are suspended then.
_PASSES = 16

# The pause before members that started after the signal get it (s), longer each time.
_LATE = 0.002
_LATE_MOST = 0.05

TREE, ALL, GROUP, PROCESS = "tree", "all", "group", "process"


class Family:
    """The processes that end with one worker."""

    def __init__(self, incarnation: int, pid: int) -> None:
        self.incarnation = incarnation
        self.pid = pid
        self.scope = PROCESS
        self.reaped = False
        # The number of the group is free and may be reused.
        self.group_gone = False
        self.signum = 0
        # Processes outside of the group, by pid.
        self.members: dict[int, tree.Process] = {}
        # Processes reparented before the stop: they outlive it.
        self.spared: frozenset[tree.Process] = frozenset()
        self.walked = False
        # How often members were found that had started after the signal.
        self.late = 0
        self.refused = False

    @property
    def wide(self) -> bool:
        """Whether more than the group belongs to it."""
        return self.scope in (TREE, ALL)


class Families:
    """The families of all workers that are being stopped, or have ended and left processes.

    `known`: the pids of workers and helpers, children of this process that belong to no
    family.
    """

    def __init__(self, loop: Loop, known: Container[int]) -> None:
        self._loop = loop
        self._known = known
        self._families: dict[int, Family] = {}
        self._rounds: dict[int, Iterator[None]] = {}
        self._marks: dict[tree.Process, tree.Mark | None] = {}
        # Called for each family whose signals were all sent.
        self.on_round_over: Callable[[int], None] = lambda _incarnation: None
        # Called with the worker and the signal, once for each stop signal.
        self.on_refused: Callable[[int, int], None] = lambda _incarnation, _signum: None

    def of(self, incarnation: int, pid: int) -> Family:
        """The worker's family, created on first use."""
        family = self._families.get(incarnation)
        if family is None:
            family = self._families[incarnation] = Family(incarnation, pid)
        return family

    def get(self, incarnation: int) -> Family | None:
        """The worker's family, if it was created."""
        return self._families.get(incarnation)

    def is_sending(self, incarnation: int) -> bool:
        """Whether a stop signal has not been sent to all processes yet."""
        return incarnation in self._rounds

    def forget(self, incarnation: int) -> None:
        """Forget the worker's family."""
        family = self._families.pop(incarnation, None)
        steps = self._rounds.pop(incarnation, None)
        self._loop.cancel(("family", incarnation))
        if family is not None and steps is not None and family.signum == signals.SIGKILL:
            for _ in steps:  # none of the processes that it has suspended may stay suspended
                pass

    # -- signals ------------------------------------------------------------------------

    def stop(self, family: Family, signum: int, scope: str) -> None:
        """Send a stop signal to all of it; 0: only find the processes that belong to it.

        Never raises: a refusal goes to `on_refused`.
        """
        family.scope = scope
        family.signum = signum
        family.refused = False
        self._rounds[family.incarnation] = self._stopped(family, signum, scope)
        self._go_on(family.incarnation)

    def _go_on(self, incarnation: int) -> None:
        """Run one round."""
        steps = self._rounds.get(incarnation)
        if steps is None:
            return
        until = self._loop.now() + ROUND
        for _ in steps:
            if self._loop.now() >= until:
                key = ("family", incarnation)
                self._loop.call_at(key, self._loop.now(), lambda: self._go_on(incarnation))
                return
        if self._rounds.get(incarnation) is steps:
            del self._rounds[incarnation]
        self.on_round_over(incarnation)

    def _stopped(self, family: Family, signum: int, scope: str) -> Iterator[None]:
        """The steps of one stop signal; can be interrupted between any two."""
        suspended: list[tree.Process] = []
        if scope in (TREE, ALL):
            deadly = signum == signals.SIGKILL
            if not family.walked:
                family.walked = True
                yield from self._spare(family)
            for _ in range(_PASSES if deadly else 1):
                before = len(family.members)
                if deadly:
                    self._send_to_group(family, signals.SIGSTOP)
                yield from self._walk(family, suspended, freeze=deadly)
                if len(family.members) == before:
                    break
        if not signum:
            return
        self._send_to_group(family, signum, scope)
        for member in tuple(family.members.values()):
            self._send(family, member, signum)
            yield
        if signum != signals.SIGKILL:
            self._wake(family, suspended, scope)

    def _spare(self, family: Family) -> Iterator[None]:
        """Spare processes reparented before the stop; with `all` they are part of it."""
        if self._has_ended(family):
            return  # its children were reparented at that moment, and belong to it
        spared = []
        for process in self._reparented(family):
            if family.scope == ALL:
                family.members[process.pid] = process
            else:
                spared.append(process)
            yield
        family.spared = frozenset(spared)

    @staticmethod
    def _has_ended(family: Family) -> bool:
        return family.reaped or not proc.alive(family.pid)

    def _walk(
        self, family: Family, suspended: list[tree.Process], *, freeze: bool
    ) -> Iterator[None]:
        """Add the descendants outside of the group to the members."""
        roots = []
        for pid, member in tuple(family.members.items()):
            if tree.lives(member):
                roots.append(pid)
            yield
        if self._has_ended(family):
            for process in self._reparented(family):
                self._add(family, process, freeze=freeze)
                roots.append(process.pid)
                yield
        else:
            roots.insert(0, family.pid)
        seen = set(roots)
        todo = deque(roots)
        while todo and len(seen) <= MOST:
            for child in tree.children(todo.popleft()):
                if child in seen or child in self._known:
                    continue
                seen.add(child)
                todo.append(child)
                found = proc.stat(child)
                if found is None or found.state in "ZX":
                    continue
                process = tree.Process(child, found.started)
                if found.state == "T":
                    suspended.append(process)
                if found.group != family.pid or family.group_gone:
                    self._add(family, process, freeze=freeze)
                yield
            yield

    def _add(self, family: Family, process: tree.Process, *, freeze: bool) -> None:
        if family.members.get(process.pid) == process:
            return
        if len(family.members) >= MOST:
            self._prune(family)
        family.members[process.pid] = process
        if freeze:
            self._send(family, process, signals.SIGSTOP)

    @staticmethod
    def _prune(family: Family) -> None:
        family.members = {p: each for p, each in family.members.items() if tree.lives(each)}

    def _send_to_group(self, family: Family, signum: int, scope: str = GROUP) -> None:
        """Signal the group, and the worker if it is in another one: each process once."""
        reached = False
        try:
            if scope != PROCESS and not family.group_gone:
                reached = kill.send_signal(family.pid, signum, group=True)
            if not family.reaped:
                found = proc.stat(family.pid)
                # Between fork and setsid it is still in pyinit's group.
                if not reached or (found is not None and found.group != family.pid):
                    kill.send_signal(family.pid, signum)
        except PermissionError:
            self._note(family)

    def _send(self, family: Family, process: tree.Process, signum: int) -> None:
        try:
            tree.signal(process, signum)
        except PermissionError:
            self._note(family)

    def _note(self, family: Family) -> None:
        if not family.refused:
            family.refused = True
            self.on_refused(family.incarnation, family.signum)

    def _wake(self, family: Family, suspended: list[tree.Process], scope: str) -> None:
        """Continue suspended processes, which otherwise would not see the signal before SIGKILL."""
        if not family.reaped and kill.is_suspended(family.pid):
            self._send_to_group(family, signals.SIGCONT, scope)
        for process in suspended:
            self._send(family, process, signals.SIGCONT)

    # -- remaining processes ------------------------------------------------------------

    def is_left(self, family: Family) -> bool:
        """Whether any of its processes is alive. New members get the signal that the others got."""
        if family.scope != PROCESS and self._group_exists(family):
            return True
        if not family.wide:
            return False
        if family.incarnation in self._rounds:
            return True
        if self._member_lives(family):
            return True
        family.members = {process.pid: process for process in self._reparented(family)}
        if not family.members:
            return False
        if family.signum:
            # Not at once: a process that forks repeatedly would use up this turn.
            family.late += 1
            steps = self._stopped(family, family.signum, family.scope)
            self._rounds[family.incarnation] = steps
            when = self._loop.now() + min(_LATE_MOST, _LATE * family.late)
            key, number = ("family", family.incarnation), family.incarnation
            self._loop.call_at(key, when, lambda: self._go_on(number))
        return True

    @staticmethod
    def _member_lives(family: Family) -> bool:
        """Whether one of the members is alive; those before it that are not are forgotten."""
        while family.members:
            pid, member = next(iter(family.members.items()))
            if tree.lives(member):
                return True
            del family.members[pid]
        return False

    @staticmethod
    def _group_exists(family: Family) -> bool:
        return not family.group_gone and kill.group_exists(family.pid)

    def strays(self, family: Family) -> bool:
        """Whether the worker ended by itself and has live processes outside of its group."""
        return any(True for _ in self._reparented(family))

    def _reparented(self, family: Family) -> Iterator[tree.Process]:
        """Children of this process that come from the worker, except the spared ones.

        They are found by the session, if they are in the worker's own; else by the mark.
        """
        for pid in tree.own_children():
            if pid in self._known:
                continue
            found = proc.stat(pid)
            if found is None or found.state in "ZX":
                continue
            process = tree.Process(pid, found.started)
            if process in family.spared:
                continue
            if found.group == family.pid and not family.group_gone:
                continue
            if found.session == family.pid and not family.group_gone:
                yield process
                continue
            mark = self.mark_of(process)
            if mark is not None and mark.incarnation == family.incarnation:
                yield process

    def mark_of(self, process: tree.Process) -> tree.Mark | None:
        """The mark of a reparented process. It never changes, so it is read once."""
        if process not in self._marks:
            if len(self._marks) >= MOST:
                self._marks.clear()
            self._marks[process] = tree.mark_of(process.pid)
        return self._marks[process]

    def left_behind(self, most: int = 64) -> list[tuple[tree.Process, tree.Mark | None]]:
        """Reparented processes of no family, with the worker they come from; at most so many."""
        taken = {each for family in self._families.values() for each in family.members.values()}
        found: list[tuple[tree.Process, tree.Mark | None]] = []
        for pid in tree.own_children():
            if len(found) == most:
                break
            process = None if pid in self._known else tree.identify(pid)
            if process is not None and process not in taken:
                found.append((process, self.mark_of(process)))
        return found


def name_of(pid: int) -> str:
    """The name of a process as `ps -o comm` shows it. Command lines may hold secrets."""
    return proc.name(pid) or "?"
