"""Turns caught signals into events, one after the other, also when memory is short."""

from __future__ import annotations

from collections import deque

from entrypoint.core import events as e
from entrypoint.kernel import signals
from entrypoint.loop import READ

from .environment import Terminal, no_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.kernel.signals import SignalPipe
    from entrypoint.loop import Loop

# The pause before signals are handled again after a shortage of memory (s).
MEMORY_PAUSE = 0.01


class CaughtSignals:
    """Reads the signals from their pipe.

    `child_ended` is called for SIGCHLD, `resized` for a new size of the terminal, `failed` if
    memory runs out.
    """

    def __init__(
        self,
        loop: Loop,
        pipe: SignalPipe,
        emit: Callable[[e.Event], None],
        *,
        is_init: bool,
        child_ended: Callable[[], None],
        resized: Callable[[], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._loop = loop
        self._pipe = pipe
        self._emit = emit
        self._is_init = is_init
        self._child_ended = child_ended
        self._resized = resized
        self._failed = failed
        self._terminal = Terminal()
        # Signals that were received and not handled yet.
        self._waiting: deque[int] = deque()

    def watch(self) -> None:
        """Handle signals from now on."""
        self._loop.register(self._pipe.fd, READ, self._arrived)

    def _arrived(self, _events: int) -> None:
        try:
            self._waiting.extend(self._pipe.read())
            self.handle_waiting()
        except MemoryError as error:
            self._failed("signals", error)
            self._loop.call_at("signals", self._loop.now() + MEMORY_PAUSE, self._again)

    def _again(self) -> None:
        self._arrived(READ)

    def handle_waiting(self) -> None:
        """Handle the signals received so far."""
        while self._waiting:
            # It stays first until it is handled: memory may run out.
            self.handle(self._waiting[0])
            self._waiting.popleft()

    def handle(self, signum: int) -> None:
        """Handle one signal."""
        if signum == signals.SIGCHLD:
            self._child_ended()
        elif signum in signals.CAUGHT and signum not in signals.SUSPENDS:
            name = signals.name_of(signum)
            gone = signum == signals.SIGHUP and self._terminal.hung_up()
            resized = signum == signals.SIGWINCH and not (self._is_init and no_terminal())
            if resized:
                self._resized()
            self._emit(e.SignalArrived(signum, terminal_gone=gone, resized=resized, name=name))
