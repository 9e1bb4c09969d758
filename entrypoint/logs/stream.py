"""State of the pipe of one worker's stream, its share of a turn, and its last lines."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .wrap import Wrapper


class Stream:
    """One pipe of one worker."""

    __slots__ = (
        "_on_readable", "app", "counters", "cut", "fd", "fed_at", "heavy", "incarnation",
        "instance", "name", "paused", "pid", "showing", "tty", "unread", "wrapper",
    )  # fmt: skip

    def __init__(
        self,
        on_readable: Callable[[Stream], None],
        fd: int,
        name: str,
        app: str,
        instance: int,
        incarnation: int,
        pid: int,
    ) -> None:
        self._on_readable = on_readable
        self.fd = fd
        self.name = name
        self.app = app
        self.instance = instance
        self.incarnation = incarnation
        self.pid = pid
        self.counters = [0, 0]
        self.paused = False
        self.tty = False
        self.cut = b""  # a CR at the end of a read: a newline may follow
        self.unread = b""  # read, and not passed on yet: there was no memory for it
        self.fed_at = 0.0
        self.showing = False  # a timer will show the line that has not ended
        self.heavy = False  # its last lines cost ten times the others
        self.wrapper: Wrapper

    def readable(self, _events: int) -> None:
        """Called by the loop."""
        self._on_readable(self)


class Shares:
    """Divides `size` bytes of a turn of the loop evenly among the readable streams."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._turn = self._now = self._before = 0

    def next(self, turn: int) -> int:
        """The share of another stream, by how many there are, or were in the turn before."""
        if self._turn != turn:
            self._turn = turn
            self._before, self._now = self._now, 0
        self._now += 1
        return self._size // max(self._before, self._now)


# -- the last lines ----------------------------------------------------------------------

BYTES = 4096
LINES = 10
# The number of ended workers whose last lines are kept for late requests.
_KEPT = 64


class Tails:
    """The last bytes of each incarnation's output."""

    def __init__(self) -> None:
        self._tails: dict[int, bytes] = {}

    def keep(self, incarnation: int, data: bytes) -> None:
        """Store output of it."""
        if len(data) < BYTES:
            data = self._tails.get(incarnation, b"") + data
        self._tails[incarnation] = data[-BYTES:]

    def lines(self, incarnation: int) -> tuple[str, ...]:
        """At most LINES last lines, of at most BYTES; the first may lack its beginning."""
        text = self._tails.get(incarnation, b"").decode("utf-8", "replace").strip("\n")
        lines = text.split("\n")[-LINES:] if text else ()
        return tuple(line.rstrip("\r") for line in lines)

    def ended(self, incarnation: int, living: dict[int, int]) -> None:
        """Mark it as ended; forget the oldest of those that are not among `living`."""
        if incarnation in self._tails:
            # To the young end of the dict: the oldest of those that ended go first.
            self._tails[incarnation] = self._tails.pop(incarnation)
            ended = [number for number in self._tails if number not in living]
            for number in ended[:-_KEPT]:
                del self._tails[number]
