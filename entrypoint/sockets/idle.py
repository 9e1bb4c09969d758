"""Finds a moment for the stop signal when the worker has no unix socket connection in hand.

On TCP a retiring worker gets no new connections, and has answered what it took when its
signal is sent. A unix socket has one queue for all workers: each takes connections until
its signal, and a server that stops abruptly drops the requests in hand. So the worker is suspended
for a moment (SIGSTOP). If none of its processes has a connection, it cannot take one before
its signal, which takes effect when it continues; otherwise it continues at once and is suspended
again a little later.

A suspension takes some milliseconds. A worker that keeps a connection is never idle and gets its
signal after `PATIENCE` all the same. Attempts go on for longer if that may help: a worker with
other connections in hand at each check is idle in between, and on a busy machine threads take long
to stop.
"""

from __future__ import annotations

from entrypoint.kernel import look, sockdiag, suspend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.loop import Loop

# How long to look for an idle moment (s).
PATIENCE = 0.5
# Checks that identify a kept connection; how long to try without one (s).
_LOOKS, _LONGEST = 5, 3.0
# Time between two suspensions; varied, to avoid synchronizing with the load (s).
_PAUSES = (0.004, 0.007, 0.011, 0.005, 0.009)
# Interval of checks whether all threads have stopped, and how many.
_STEP, _STEPS = 0.001, 8
# How many checks whether the signal has been sent.
_SENDING = 500
# The first attempts require each thread to be in a waiting call: between two calls a program
# may be about to call accept(2).
_STRICT = 0.7


class Idle:
    """Calls `then` at such a moment, or in the end. `paths` are the names of the sockets.

    `sending()`: the signal that `then` has begun to send has not reached all processes yet. The
    worker stays suspended until then: otherwise it could take a connection first.
    """

    def __init__(
        self,
        loop: Loop,
        key: object,
        pid: int,
        paths: tuple[str, ...],
        then: Callable[[], None],
        sending: Callable[[], bool] = lambda: False,
    ) -> None:
        self._loop = loop
        self._key = ("idle", key)
        self._pid = pid
        self._paths = paths
        self._then = then
        self._sending = sending
        self._began = loop.now()
        self._holds = 0
        self._looks = 0
        # Connections that it had in hand at each check.
        self._kept: set[int] | None = None
        self._suspended: tuple[int, ...] = ()
        self._steps = 0
        self._hold()

    def _hold(self) -> None:
        tree = look.tree(self._pid)
        # A process that is already suspended is so for another reason.
        if all(suspend.is_suspended(pid) for pid in tree):
            self._then()
            return
        self._holds += 1
        self._steps = 0
        self._suspended = tree
        if not suspend.suspend(tree):
            self._go()
            return
        self._later(_STEP, self._look)

    def _look(self) -> None:
        try:
            self._step()
        except BaseException:
            self._release()
            raise

    def _step(self) -> None:
        tree = look.tree(self._pid)
        fresh = [pid for pid in tree if pid not in self._suspended]
        self._suspended = tree
        if fresh:
            suspend.suspend(fresh)
        if fresh or not all(suspend.is_suspended(pid) for pid in tree):
            self._steps += 1
            if self._steps < _STEPS:
                self._later(_STEP, self._look)
            else:
                self._again()
            return
        self._looks += 1
        if self._is_idle():
            self._go()
        else:
            self._again()

    def _is_idle(self) -> bool:
        young = self._loop.now() - self._began < _STRICT * PATIENCE
        strict = young or self._looks < _LOOKS - 1
        if strict and any(suspend.only_waits(pid) is False for pid in self._suspended):
            return False
        taken = sockdiag.accepted(self._paths)
        if taken is None:
            return True  # nothing can be observed, now or later
        serving = set(look.sockets(self._suspended, taken).holders) if taken else set()
        self._kept = serving if self._kept is None else self._kept & serving
        return not serving

    def _go(self) -> None:
        try:
            self._then()
        finally:
            self._steps = 0
            self._release_when_sent()

    def _release_when_sent(self) -> None:
        self._steps += 1
        if self._steps < _SENDING and self._sending():
            self._later(_STEP, self._release_when_sent)
        else:
            self._release()

    def _again(self) -> None:
        self._release()
        tried = self._loop.now() - self._began
        keeps = self._looks >= _LOOKS and self._kept
        if tried > (PATIENCE if keeps else _LONGEST):
            self._then()
        else:
            self._later(_PAUSES[self._holds % len(_PAUSES)], self._hold)

    def _release(self) -> None:
        suspended, self._suspended = self._suspended, ()
        suspend.resume(suspended)

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._loop.call_at(self._key, self._loop.now() + seconds, what)
