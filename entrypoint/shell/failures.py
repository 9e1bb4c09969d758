"""Failures of PID 1 itself: counted, logged at a bounded rate, never fatal.

A repeated fault must not fill the log: a record costs a token, and one token is added
each second. The next record counts those that were not logged.

When memory runs out, the handler of the fault needs memory too. So some memory
is reserved and returned to the allocator then, and the loop no longer serves requests of
workers (their output waits in their pipes): signals, children, timers and probes continue
with the reserve. Once it can be allocated again, everything is served as before.
"""

from __future__ import annotations

import time

from entrypoint.logs import boot_messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.loop import Loop

# Records at once, and how many tokens are added in a second.
BURST = 10.0
RATE = 1.0
# Address space, not memory: the pages are never touched.
RESERVE = 4 << 20
# Below this PID 1 keeps refusing requests of workers.
LEAST_RESERVE = 1 << 18
# How often to try to allocate the reserve again (s).
RETRY = 0.25
# The first pause after a turn that raised, and the longest (s).
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.1


class Failures:
    """`log(level, event, fields)`; `excerpt(app)` logs the events before an internal error.

    `recovered()` is called when memory is available again.
    """

    def __init__(
        self,
        loop: Loop,
        log: Callable[[str, str, dict[str, object]], None],
        excerpt: Callable[[str], None],
        recovered: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._log = log
        self._excerpt = excerpt
        self._recovered = recovered
        self.errors = 0
        self.shortages = 0
        self.suppressed = 0
        self._left_out = 0
        self._tokens = BURST
        self._since = loop.now()
        self._reserve: bytes | None = bytes(RESERVE)
        self._retry_at = 0.0
        self._pause = _FIRST_PAUSE

    @property
    def short(self) -> bool:
        """Whether memory is short: the reserve is in use."""
        return self._reserve is None

    def report(self, where: str, error: BaseException, app: str = "") -> None:
        """Count and log an exception. Never raises."""
        try:
            self.errors += 1
            if isinstance(error, MemoryError):
                self._memory_short(where)
            elif self._may_log():
                self._say(where, error, app)
        except Exception:  # noqa: BLE001  counted already; nothing more can be done
            return

    def _may_log(self) -> bool:
        now = self._loop.now()
        self._tokens = min(BURST, self._tokens + RATE * (now - self._since))
        self._since = now
        if self._tokens < 1:
            self.suppressed += 1
            self._left_out += 1
            return False
        self._tokens -= 1
        return True

    def _more(self, fields: dict[str, object]) -> dict[str, object]:
        left_out, self._left_out = self._left_out, 0
        return {**fields, "suppressed": left_out} if left_out else fields

    def _say(self, where: str, error: BaseException, app: str) -> None:
        text = f"{where}: {error!r}\n"
        try:
            import traceback  # without a free descriptor even this may fail

            text = "".join(traceback.format_exception(error))
            fields = self._more({"where": where, "traceback": text})
            self._log("error", "internal error", fields)
            self._excerpt(app)
        except Exception:  # noqa: BLE001  the log itself may be what is broken
            # Output that stderr cannot take now is lost: PID 1 must not wait.
            boot_messages.put(text.encode("utf-8", "replace"), 2, 0.0)

    # -- memory -----------------------------------------------------------------------

    def _memory_short(self, where: str) -> None:
        first = self._reserve is not None
        self._reserve = None
        self._loop.withhold = True
        self._retry_at = self._loop.now() + RETRY
        if first:
            self.shortages += 1
            if self._may_log():
                then = "the output and the requests of workers wait"
                self._log("error", "memory exhausted", self._more({"where": where, "then": then}))

    def recover(self) -> None:
        """Try to recover; call it after each turn while memory is `short`. Never raises."""
        if not self._refill():
            return
        self._loop.serve_owners()
        try:
            self._recovered()
            if self._may_log():
                self._log("info", "memory available", self._more({}))
        except Exception as error:  # noqa: BLE001  the next turn may succeed
            self.report("memory available", error)

    def _refill(self) -> bool:
        """Allocate the reserve again, a smaller one if memory is short."""
        try:
            if self._loop.now() < self._retry_at:
                return False
            self._retry_at = self._loop.now() + RETRY
        except MemoryError:
            return False
        size = RESERVE
        while self._reserve is None and size >= LEAST_RESERVE:
            try:
                self._reserve = bytes(size)
            except MemoryError:
                size //= 4
        return self._reserve is not None

    # -- a turn of the loop that raised -------------------------------------------------

    def rest(self) -> None:
        """Pause after a turn that raised, as the next one may raise at once. Never raises."""
        try:
            time.sleep(self._pause)
            self._pause = min(_LONGEST_PAUSE, self._pause * 2)
        except Exception:  # noqa: BLE001  see above
            return

    def rested(self) -> None:
        """Reset the pause: a turn succeeded."""
        self._pause = _FIRST_PAUSE
