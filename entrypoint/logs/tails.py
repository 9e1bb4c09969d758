"""The last that each worker wrote to stderr: what a person wants to see of its end."""

from __future__ import annotations

BYTES = 4096
LINES = 10
# Workers that have ended whose last words are kept for whoever asks late.
_KEPT = 64


class Tails:
    """Some last bytes for each incarnation."""

    def __init__(self) -> None:
        self._tails: dict[int, bytes] = {}

    def keep(self, incarnation: int, data: bytes) -> None:
        """It wrote this."""
        if len(data) < BYTES:
            data = self._tails.get(incarnation, b"") + data
        self._tails[incarnation] = data[-BYTES:]

    def lines(self, incarnation: int) -> tuple[str, ...]:
        """At most LINES last lines, of at most BYTES; the first may lack its beginning."""
        text = self._tails.get(incarnation, b"").decode("utf-8", "replace").strip("\n")
        lines = text.split("\n")[-LINES:] if text else ()
        return tuple(line.rstrip("\r") for line in lines)

    def ended(self, incarnation: int, living: dict[int, int]) -> None:
        """It writes no more; the oldest of those that are not among `living` are forgotten."""
        if incarnation in self._tails:
            # To the young end of the dict: the oldest of those that ended go first.
            self._tails[incarnation] = self._tails.pop(incarnation)
            ended = [number for number in self._tails if number not in living]
            for number in ended[:-_KEPT]:
                del self._tails[number]
