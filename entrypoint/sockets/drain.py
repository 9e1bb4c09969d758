"""A worker that retires: its queue must empty, and what it took is to be answered.

A rude server drops at its signal what it is answering. So it gets a time for that, from
the moment in which its queue was empty. On a machine with too few CPUs most of that would
go by while it waits for one: this does not count.
"""

from __future__ import annotations

from entrypoint.kernel import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Less than this is no reason to look again (s).
_NEGLIGIBLE = 0.005
# How often it is looked whether it still waits for a CPU (s): each thread is a file of /proc.
_PAUSE = 0.05


class Emptying:
    """Called again and again, says when the worker of process tree `pid` is done.

    `answer_time`: seconds that it gets for its last connections; 0: an empty queue is all.
    """

    def __init__(
        self,
        now: Callable[[], float],
        queue_length: Callable[[], int],
        pid: int,
        answer_time: float,
    ) -> None:
        self._now = now
        self._queue_length = queue_length
        self._pid = pid
        self._answer_time = answer_time
        self._since: float | None = None
        self._due = 0.0
        self._before: dict[int, proc.Scheduled] = {}

    def __call__(self) -> bool:
        """The queue is empty, and it has had its time."""
        if self._queue_length() > 0:
            self._since = None
            return False
        if self._answer_time <= 0:
            return True
        now = self._now()
        if self._since is None:
            self._since, self._due = now, now + self._answer_time
            self._before = proc.scheduled(self._pid)
        if now < self._due:
            return False
        gone = now - self._since
        left = self._answer_time + self._lost(gone) - gone
        self._due = now + min(left, _PAUSE)
        return left < _NEGLIGIBLE

    def _lost(self, gone: float) -> float:
        """How much of the time that has gone its slowest thread has waited for a CPU."""
        most = 0.0
        for thread, now in proc.scheduled(self._pid).items():
            before = self._before.get(thread, _NEW)
            most = max(most, now.waited - before.waited)
            if now.runnable:
                # It may wait since long: that is counted when it is over.
                most = max(most, gone - (now.ran - before.ran))
        return most


_NEW = proc.Scheduled(0.0, 0.0, runnable=False)
