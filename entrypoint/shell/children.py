"""The processes of the workers: forked, watched over their channels, reaped.

Maps pids to incarnations and turns what the kernel reports into the core's
events; makes no decisions.
"""

from __future__ import annotations

import os
from collections import deque

from entrypoint.core import events as e
from entrypoint.core.record import Record
from entrypoint.kernel import (
    child_report,
    kill,
    process,
    reap,
    signals,
)
from entrypoint.loop import READ

from .descendants import (
    ALL,
    GROUP,
    PROCESS,
    TREE,
    Families,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.core.spec import AppSpec
    from entrypoint.loop import Loop

    Emit = Callable[[e.Event], None]


# Interval of checks whether a worker's remaining processes have ended (s).
LOOK_AGAIN = 0.5


class Started(Record):
    """A worker's process. `reaped`: only its group may still exist."""

    incarnation: int
    pid: int
    spec: AppSpec
    instance: int
    slot: int
    queue: int  # the number of its sockets: its slot's, except with `share: generations`
    surge_number: int = -1  # replaces its instance number (spawn_request.instance_number)
    id: int = -1  # as `pyinit ls` shows it
    restarts: int = 0
    channel: int = -1
    failure: str = ""
    # It has reached execve(2).
    executing: bool = False
    # Its listen(2) will be reported: by the filter or over Node's channel.
    listen_visible: bool = False
    reaped: bool = False
    status: int = 0  # of wait(2), once it is reaped

    @property
    def number(self) -> int:
        """The value of `{instance}` for it."""
        return self.instance if self.surge_number < 0 else self.surge_number


class _Known:
    """The pids of workers and helpers, as a container."""

    def __init__(self, children: Children) -> None:
        self._children = children

    def __contains__(self, pid: object) -> bool:
        return pid in self._children.pids or pid in self._children.helpers


class Children:
    """Every process that pyinit started or inherited.

    `on_filter(incarnation, slot, fd)` gets the notifier of a worker's seccomp filter;
    `on_refused(errno)` is called if there will be none.
    """

    def __init__(
        self,
        loop: Loop,
        emit: Emit,
        on_filter: Callable[[Started, int], None],
        on_refused: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._emit = emit
        self._on_filter = on_filter
        self._on_refused = on_refused
        self._started: dict[int, Started] = {}
        self._by_pid: dict[int, int] = {}
        self._lingering: set[int] = set()
        self.known = _Known(self)
        self.families = Families(loop, self.known)
        self.families.on_round_over = self._look_for_the_end
        self.helpers: dict[int, Callable[[int], None]] = {}
        # Reaped children that are not handled yet, with their wait status.
        self._ended: deque[tuple[int, int]] = deque()
        self.orphans = 0
        # Starts the `after_stop` of a worker; returns the pid, 0 if that failed.
        self.on_cleaned: Callable[[Started, int], None] = lambda _started, _status: None
        self.on_end: Callable[[Started], int] = lambda _started: 0
        # Of workers that have ended: the pid of their `after_stop`, 0 once that is over.
        self._after: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._started)

    def start(self, started: Started, request: process.SpawnRequest) -> Started:
        """Fork `request` for the worker. Raises OSError when fork(2) fails."""
        child = process.spawn(request)
        incarnation = started.incarnation
        try:
            self._number_came_again(child.pid)
            started = started.replace(pid=child.pid, channel=child.channel)
            self._started[incarnation] = started
            self._by_pid[child.pid] = incarnation
            self._loop.register(
                child.channel, READ, lambda _events: self._read_reports(incarnation)
            )
        except BaseException:
            self._abandon(incarnation, child.pid, child.channel)
            raise
        return started

    def abandon(self, incarnation: int) -> None:
        """Kill and forget a process whose start failed after the fork."""
        started = self._started.get(incarnation)
        if started is not None:
            self._abandon(incarnation, started.pid, started.channel)

    def _abandon(self, incarnation: int, pid: int, channel: int) -> None:
        # Not reaped yet, so the pid is still its own.
        try:
            kill.send_signal(pid, signals.SIGKILL, group=False)
        except PermissionError:
            pass  # it runs as another user, and we lack CAP_KILL: it stays as an orphan
        self._started.pop(incarnation, None)
        self._by_pid.pop(pid, None)
        if channel >= 0:
            self._loop.unregister(channel)
            os.close(channel)

    def _number_came_again(self, pid: int) -> None:
        """Mark the group of a lingering worker as gone, because its pid was reused.

        The kernel does not reuse a pid while a group has it. So that group is empty: a parent of
        its own reaped its last process, unseen by us. Its SIGKILL must not reach the new process.
        """
        for incarnation in tuple(self._lingering):
            started = self._started.get(incarnation)
            if started is not None and started.pid == pid:
                self.families.of(incarnation, pid).group_gone = True
                self._look_for_the_end(incarnation)

    def adopt_helper(self, pid: int, ended: Callable[[int], None]) -> None:
        """Adopt a child that is not a worker; `ended(wait status)` is called when it is reaped."""
        self._number_came_again(pid)
        self.helpers[pid] = ended

    def get(self, incarnation: int) -> Started | None:
        """The worker's process, or None if none of its processes remains."""
        return self._started.get(incarnation)

    def of_app(self, name: str) -> list[Started]:
        """The living processes of an app's workers."""
        return [s for s in self._started.values() if s.spec.name == name and not s.reaped]

    def incarnation_of(self, pid: int) -> int:
        """The incarnation of the worker that this process is, 0 for none."""
        return self._by_pid.get(pid, 0)

    def pid_of(self, incarnation: int) -> int:
        """The process of this worker, 0 when it has ended."""
        started = self._started.get(incarnation)
        return started.pid if started is not None and not started.reaped else 0

    @property
    def pids(self) -> dict[int, int]:
        """Pid → incarnation of the workers that are not reaped."""
        return self._by_pid

    # -- what the child reports before exec ---------------------------------------

    def _read_reports(self, incarnation: int) -> None:
        started = self._started.get(incarnation)
        if started is None or started.channel < 0:
            return
        for message in child_report.read_channel(started.channel):
            if isinstance(message, child_report.FilterInstalled):
                started = self._put(started.replace(listen_visible=True))
                self._on_filter(started, message.fd)
            elif isinstance(message, child_report.FilterRefused):
                self._on_refused(message.errno)
            elif isinstance(message, child_report.Executing):
                started = self._put(started.replace(executing=True))
            else:
                started = self._close_channel(started)
                if isinstance(message, child_report.SpawnFailed):
                    # The exit that follows reports it, so that there is only one end.
                    started = self._put(started.replace(failure=message.text))
                elif not started.executing:
                    started = self._put(started.replace(failure="killed before its exec"))
                else:
                    self._emit(e.WorkerExeced(incarnation, started.listen_visible))

    def _put(self, started: Started) -> Started:
        self._started[started.incarnation] = started
        return started

    def _close_channel(self, started: Started) -> Started:
        if started.channel >= 0:
            self._loop.unregister(started.channel)
            os.close(started.channel)
        return self._put(started.replace(channel=-1))

    # -- what the kernel reports at the end ---------------------------------------

    def _handle_end(self, pid: int, status: int) -> None:
        incarnation = self._by_pid.pop(pid, 0)
        if incarnation:
            try:
                self._worker_ended(incarnation, status)
            except MemoryError:
                self._by_pid.setdefault(pid, incarnation)
                raise
        elif pid in self.helpers:
            self.helpers.pop(pid)(status)
        else:
            self.orphans += 1  # its pid was known and had just become free

    def reap(self) -> bool:
        """Reap children that have ended, workers and orphans. True: there may be more."""
        known = {**self._by_pid, **self.helpers} if self.helpers else self._by_pid
        began = self._loop.now()
        ended, orphans = reap.reap(known)
        more = reap.may_be_more(len(ended) + orphans, began)
        self.orphans += orphans
        self._ended.extend(ended)
        while self._ended:
            pid, status = self._ended.popleft()
            try:
                self._handle_end(pid, status)
            except MemoryError:
                self._ended.appendleft((pid, status))  # the next call handles it
                raise
        if self._lingering and (ended or orphans) and not more:
            for incarnation in tuple(self._lingering):
                self._look_for_the_end(incarnation)
        return more

    def _worker_ended(self, incarnation: int, status: int) -> None:
        self._read_reports(incarnation)
        started = self._close_channel(self._started[incarnation])
        started = self._put(started.replace(reaped=True, status=status))
        group_left, strays = self._what_is_left(started)
        cleaning = not group_left and self._clean(started)
        if group_left or strays or cleaning:
            self._lingering.add(incarnation)
            self._look_again()
        signaled = os.WIFSIGNALED(status)
        self._emit(
            e.WorkerExited(
                incarnation,
                code=None if signaled else os.WEXITSTATUS(status),
                signum=os.WTERMSIG(status) if signaled else None,
                failure=started.failure,
                group_left=group_left,
                strays=strays,
                cleaning=cleaning,
                core_dumped=signaled and os.WCOREDUMP(status),
            )
        )

    def _what_is_left(self, started: Started) -> tuple[bool, bool]:
        """Remaining processes of an ended worker: of its stop, and strays of a crash."""
        if started.spec.treekill == "none":
            return False, False
        family = self.families.of(started.incarnation, started.pid)
        family.reaped = True
        if family.walked:  # a stop has begun
            return self.families.is_left(family), False
        strays = started.spec.treekill in (TREE, ALL) and self.families.strays(family)
        family.scope = ALL if strays else GROUP
        return kill.group_exists(started.pid), strays

    def _clean(self, started: Started) -> bool:
        """Run its `after_stop` once none of its processes is alive. True: that is running."""
        if not started.spec.after_stop or started.incarnation in self._after:
            return False
        incarnation = started.incarnation
        pid = self._after[incarnation] = self.on_end(started)
        if not pid:
            return False

        def ended(status: int) -> None:
            self._after[incarnation] = 0
            self.on_cleaned(started, status)
            self._look_for_the_end(incarnation)

        self.adopt_helper(pid, ended)
        return True

    def _look_again(self) -> None:
        """Check periodically: not every remaining process is a child of pyinit."""

        def look() -> None:
            for incarnation in tuple(self._lingering):
                self._look_for_the_end(incarnation)
            if self._lingering:
                self._look_again()

        self._loop.call_at("lingering", self._loop.now() + LOOK_AGAIN, look)

    def _look_for_the_end(self, incarnation: int) -> None:
        if incarnation not in self._lingering or self._after.get(incarnation):
            return
        started = self._started.get(incarnation)
        family = self.families.get(incarnation)
        if started is None or family is None or not self.families.is_left(family):
            if started is not None and self._clean(started):
                return
            self._lingering.discard(incarnation)
            self._emit(e.GroupEmptied(incarnation))

    # -- signals and the end --------------------------------------------------------

    def signal(
        self, incarnation: int, signum: int, *, scope: str = PROCESS, stop: bool = False
    ) -> None:
        """kill(2); a process that has ended meanwhile is not an error.

        `stop`: the signal is meant to end the worker, and by `scope` other processes of it
        (descendants.py), also suspended ones; refusals go to `families.on_refused`. Raises
        PermissionError for any other signal.

        The pid of a reaped worker may be another process's by now: then only its group is
        signalled, and only while the kernel reserves that number for it.
        """
        started = self._started.get(incarnation)
        if started is None or (started.reaped and incarnation not in self._lingering):
            return
        after = self._after.get(incarnation)
        if after and signum == signals.SIGKILL:
            kill.send_signal(after, signum, group=True)
        if stop:
            family = self.families.of(incarnation, started.pid)
            self.families.stop(family, signum, scope)
        elif not started.reaped or scope != PROCESS:
            kill.send_signal(started.pid, signum, group=scope != PROCESS)

    def note_family(self, incarnation: int, scope: str) -> None:
        """Find the processes that belong to the worker: a stop without a signal begins."""
        started = self._started.get(incarnation)
        if started is not None and not started.reaped:
            self.families.stop(self.families.of(incarnation, started.pid), 0, scope)

    def forget(self, incarnation: int) -> None:
        """Forget the worker: none of its processes remains."""
        started = self._started.pop(incarnation, None)
        self._lingering.discard(incarnation)
        self.families.forget(incarnation)
        self._after.pop(incarnation, None)
        if started is not None and started.channel >= 0:
            self._loop.unregister(started.channel)
            os.close(started.channel)
