"""One epoll loop: descriptors and deadlines in, callbacks out.

Single-threaded. It never wakes without cause: `epoll_wait(2)` sleeps until a
descriptor is ready or the earliest deadline has come, for ever when there is none.

Stale events. One `epoll_wait(2)` returns a batch. A callback of that batch may close a
descriptor, and another callback may open a new one, which gets the same number. The
remaining events of the batch were collected before; they belong to the closed file. So
each registration knows the turn in which it was made, and an event counts only for a
registration that is older than the batch. Epoll is level-triggered here: what is true of
the new descriptor is reported again in the next turn. This check is in `_call`, for every
callback. It relies on one rule: unregister a descriptor before closing it. (An open file
that another process still holds stays in the epoll set after close(2), under a number
that is no longer valid. `_rebuild` recovers from a caller that broke the rule.)

Failing callbacks. After the first spawn nothing may end PID 1: an exception is handed to
`on_error` and the loop goes on. A descriptor whose callback raised is left alone for a
pause that doubles with each failure, because it would be ready again at once. A deadline
whose callback ran out of memory is called again after such a pause.

Fairness. A registration may have an owner, a worker for example. What has no owner
(signals, probes, control) is served first in each turn. Then owners are served, those
first that used the least time lately, for `OWNED_TIME` at most; what is left comes in the
next turn. An owner that used more than its share (a tenth of the time) waits while others
are served, and is unlimited while nobody else waits. So a worker that floods PID 1 slows
down itself.
"""

from __future__ import annotations

import errno
import heapq
import math
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    Ready = Callable[[int], None]

# The longest wait of one turn (s). epoll_wait(2) takes milliseconds as a C int: more than
# 2^31 ms, 24.8 days, raises OverflowError. A later deadline takes several turns.
LONGEST_WAIT = 86400.0

# The pause after a callback's first failure, and the longest (s).
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 1.0

# What all owners together may use of one turn (s).
OWNED_TIME = 0.02
# An owner's share: this part of PID 1's time, and so much at once (s).
SHARE = 0.1
AT_ONCE = 0.002
# What an owner used beyond its share counts up to this (s), so for half a second.
MOST_DEBT = 0.05

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
HANGUP = select.EPOLLHUP
ERROR = select.EPOLLERR
# Beside others: report a change once (epoll(7), edge-triggered).
EDGE = select.EPOLLET


class _Owner:
    """The time that an owner's callbacks used beyond its share (s), as of `at`."""

    __slots__ = ("at", "debt", "registrations", "served")

    def __init__(self) -> None:
        self.debt = 0.0
        self.at = 0.0
        self.served = 0  # the turn in which it was served last
        self.registrations = 0

    def pay(self, now: float) -> float:
        """The debt that is left: it shrinks by the share of the time that has passed."""
        self.debt = max(0.0, self.debt - SHARE * (now - self.at))
        self.at = now
        return self.debt


class _Registration:
    """One descriptor: the events that are wanted, and the turn in which it was made."""

    __slots__ = ("again", "events", "failures", "key", "owner", "paused", "ready", "turn")

    def __init__(
        self, events: int, ready: Ready, turn: int, key: Hashable, owner: _Owner | None
    ) -> None:
        self.events = events
        self.ready = ready
        self.turn = turn
        self.key = key
        self.owner = owner
        self.failures = 0
        self.paused = False
        self.again = False


class Loop:
    """Readiness and deadlines.

    `on_error(where, exception)` gets everything that a callback raises.
    """

    def __init__(self, on_error: Callable[[str, BaseException], None]) -> None:
        self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._registered: dict[int, _Registration] = {}
        self._owners: dict[Hashable, _Owner] = {}
        self._more: set[int] = set()
        self._deadlines: dict[Hashable, tuple[float, int, Callable[[], None]]] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._count = 0
        self.on_error = on_error
        # When the present turn began to work; infinite between turns.
        self.turn_began = math.inf
        self.wakeups = 0
        # Owners are not served: memory is short.
        self.withhold = False
        # Told how long each turn worked (s), that is, how long all others waited.
        self.observe: Callable[[float], None] | None = None
        # Called when a turn begins to work, if somebody measures more than its time.
        self.begun: Callable[[], None] | None = None
        # The slowest callback of the present turn: what it was, and how long it took (s).
        self.slowest: Callable[..., None] | None = None
        self.slowest_time = 0.0
        self._mark = 0.0

    @staticmethod
    def now() -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    # -- descriptors ------------------------------------------------------------

    def register(self, fd: int, events: int, ready: Ready, *, owner: Hashable = None) -> None:
        """Call `ready(events)` whenever `fd` has one of `events` (level-triggered).

        `owner`: who decides how often that is, a worker for example (see the top).
        Raises PermissionError for a regular file (`epoll_ctl(2)`, EPERM).
        """
        try:
            self._epoll.register(fd, events)
        except FileExistsError:
            # The number is in the set, and nothing unregistered it: see `_rebuild`.
            self._epoll.modify(fd, events)
        share = None
        if owner is not None:
            share = self._owners.get(owner)
            if share is None:
                share = self._owners[owner] = _Owner()
            share.registrations += 1
        before = self._registered.get(fd)
        self._registered[fd] = _Registration(events, ready, self.wakeups, owner, share)
        if before is not None:
            self._leave(before)

    def modify(self, fd: int, events: int) -> None:
        """Change what is waited for; 0 leaves only HANGUP and ERROR.

        Raises FileNotFoundError when `fd` is not registered.
        """
        registration = self._registered.get(fd)
        if registration is None:
            raise FileNotFoundError(errno.ENOENT, f"descriptor {fd} is not registered")
        if not registration.paused:
            self._epoll.modify(fd, events)
        registration.events = events
        if registration.again:
            self._more.add(fd)

    def unregister(self, fd: int) -> None:
        """Forget `fd`. Call it before closing; unknown descriptors are ignored."""
        registration = self._registered.pop(fd, None)
        if registration is None:
            return
        self._more.discard(fd)
        if registration.paused:
            self.cancel(("resume", fd))
        self._leave(registration)
        if registration.paused:
            self.cancel(("resume", fd))
            return
        try:
            self._epoll.unregister(fd)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOENT):
                raise

    def call_again(self, fd: int) -> None:
        """Call `ready` in the next turn as if `fd` were readable: a part of it is left.

        Later, when that turn leaves it alone.
        """
        registration = self._registered.get(fd)
        if registration is not None:
            registration.again = True
            self._more.add(fd)

    def serve_owners(self) -> None:
        """Serve those again that `withhold` has left alone."""
        self.withhold = False
        for fd, registration in self._registered.items():
            if registration.again and not registration.paused:
                self._more.add(fd)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What is registered, for the status and for tests."""
        return tuple(self._registered)

    @property
    def deadlines(self) -> int:
        """How many deadlines are set, for the status and for tests."""
        return len(self._deadlines)

    def _leave(self, registration: _Registration) -> None:
        owner = registration.owner
        if owner is not None:
            owner.registrations -= 1
            if not owner.registrations:
                self._owners.pop(registration.key, None)

    def _rebuild(self) -> None:
        """Replace the epoll set by a new one that holds only what is registered.

        The kernel reports a file that nobody registered: its descriptor was closed while
        another process holds the file. It cannot be removed by its number any more, and
        would be reported in every turn.
        """
        try:
            fresh = select.epoll(flags=select.EPOLL_CLOEXEC)
        except OSError:
            return  # no descriptor is left: the next turn tries again
        for fd, registration in self._registered.items():
            if registration.paused:
                continue
            try:
                fresh.register(fd, registration.events)
            except OSError:
                continue  # closed without `unregister` too
        self._epoll.close()
        self._epoll = fresh

    # -- deadlines --------------------------------------------------------------

    def call_at(self, key: Hashable, deadline: float, callback: Callable[[], None]) -> None:
        """Call once at `deadline` (monotonic seconds); replaces what `key` had.

        Raises ValueError for NaN, which has no order and would corrupt the heap.
        """
        if deadline != deadline:  # noqa: PLR0124  NaN
            raise ValueError(f"the deadline of {key!r} is not a number")
        self._count += 1
        # First the heap: an entry without its deadline is passed over.
        heapq.heappush(self._heap, (deadline, self._count, key))
        self._deadlines[key] = (deadline, self._count, callback)
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._deadlines):
            # Cancelled entries stay in the heap until they surface: bound them.
            self._heap = [(when, n, k) for k, (when, n, _) in self._deadlines.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: Hashable) -> None:
        """Forget a deadline; an unknown key is ignored."""
        self._deadlines.pop(key, None)

    def _next_deadline(self) -> float | None:
        while self._heap:
            when, number, key = self._heap[0]
            current = self._deadlines.get(key)
            if current is not None and current[1] == number:
                return when
            heapq.heappop(self._heap)
        return None

    # -- turning ----------------------------------------------------------------

    def turn(self, limit: float | None = None) -> None:
        """Wait for the next descriptor or deadline (at most `limit` s) and serve all due."""
        deadline = self._next_deadline()
        timeout = -1.0
        if deadline is not None:
            timeout = max(0.0, deadline - self.now())
        if limit is not None and (timeout < 0 or limit < timeout):
            timeout = limit
        # epoll_wait counts in ms and rounds up, so a deadline is never early.
        found = self._epoll.poll(0.0 if self._more else min(timeout, LONGEST_WAIT))
        began = self._mark = self.turn_began = self.now()
        self.slowest, self.slowest_time = None, 0.0
        self.wakeups += 1
        if self.begun is not None:
            self.begun()
        if any(fd not in self._registered for fd, _ in found):
            self._rebuild()
        if self._more:
            more, self._more = self._more, set()
            more.difference_update([fd for fd, _ in found])
            found += [(fd, READ) for fd in more]
        self._serve(found)
        self._serve_deadlines()
        self.turn_began = math.inf
        if self.observe is not None:
            self.observe(self.now() - began)

    def _serve(self, found: list[tuple[int, int]]) -> None:
        """Call what is ready: first what has no owner."""
        owned: list[tuple[_Registration, int, int]] = []
        others = False
        for fd, events in found:
            registration = self._registered.get(fd)
            if registration is None:
                continue
            if registration.owner is None:
                others = True
                self._call(registration, fd, events)
            else:
                owned.append((registration, fd, events))
        if not owned:
            return
        if self.withhold:
            if not others:
                time.sleep(FIRST_PAUSE)  # they stay ready: no wait would end otherwise
        elif others or len(owned) > 1:
            self._share(owned, others=others)
        else:
            self._call(*owned[0])

    def _share(self, owned: list[tuple[_Registration, int, int]], *, others: bool) -> None:
        """Serve owners, first those that used the least time lately."""
        now = began = self.now()
        for registration, _, _ in owned:
            assert registration.owner is not None
            registration.owner.pay(now)
        owned.sort(key=_precedence)
        for place, (registration, fd, events) in enumerate(owned):
            owner = registration.owner
            assert owner is not None
            in_excess = owner.debt > AT_ONCE
            if (others and in_excess) or now - began > OWNED_TIME:
                self._more.update(fd for left, fd, _ in owned[place:] if left.again)
                break
            self._call(registration, fd, events)
            now, before = self._mark, now
            owner.debt = min(MOST_DEBT, owner.debt + now - before)
            owner.served = self.wakeups
            others = others or not in_excess

    def _call(self, registration: _Registration, fd: int, reported: int) -> None:
        # Dropped by an earlier callback of this batch, or made by one: see the top.
        if self._registered.get(fd) is not registration or registration.turn >= self.wakeups:
            return
        # `modify` may have been called since: only what is still wanted counts.
        events = reported & (registration.events | HANGUP | ERROR)
        if not events or registration.paused:
            return
        registration.again = False
        try:
            registration.ready(events)
            registration.failures = 0
        except Exception as error:  # noqa: BLE001  PID 1 outlives every bug of its own
            try:
                self._pause(registration, fd)
            finally:
                self.on_error(name_of(registration.ready), error)
        self._measure(registration.ready)

    def _measure(self, callback: Callable[..., None]) -> None:
        now = self.now()
        took, self._mark = now - self._mark, now
        if took > self.slowest_time:
            self.slowest, self.slowest_time = callback, took

    def _pause(self, registration: _Registration, fd: int) -> None:
        """Leave a descriptor alone for a while: its callback has failed."""
        if self._registered.get(fd) is not registration:
            return
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(registration.failures, 10))
        registration.failures += 1

        def resume() -> None:
            if self._registered.get(fd) is registration and registration.paused:
                self._epoll.register(fd, registration.events)
                registration.paused = False
                if registration.again:
                    self._more.add(fd)

        self.call_at(("resume", fd), self.now() + pause, resume)
        registration.paused = True
        self._epoll.unregister(fd)

    def _serve_deadlines(self) -> None:
        now = self.now()
        while (deadline := self._next_deadline()) is not None and deadline <= now:
            _, _, key = heapq.heappop(self._heap)
            _, _, callback = self._deadlines.pop(key)
            try:
                callback()
            except MemoryError as error:
                try:
                    if key not in self._deadlines:
                        # What it was to do is still to be done.
                        self.call_at(key, now + FIRST_PAUSE, callback)
                finally:
                    self.on_error(name_of(callback), error)
            except Exception as error:  # noqa: BLE001  as above
                self.on_error(name_of(callback), error)
            self._measure(callback)

    def close(self) -> None:
        """Release the epoll descriptor."""
        self._epoll.close()


def _precedence(ready: tuple[_Registration, int, int]) -> tuple[float, int]:
    """Those within their share first; among equals those that waited longest."""
    owner = ready[0].owner
    assert owner is not None
    return max(0.0, owner.debt - AT_ONCE), owner.served


def name_of(callback: Callable[..., None]) -> str:
    """A callback's name for people: `LogPump.readable`."""
    return getattr(callback, "__qualname__", repr(callback))
