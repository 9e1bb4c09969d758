"""Reads pages of workers in a child, because PID 1 would wait for their file system.

One child for a worker at a time; the worker's calls wait until it has ended, forever if the
file system is dead. See kernel/memory.py.
"""

from __future__ import annotations

from entrypoint.kernel import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    # Adopts a child of this pid as a helper; the callback runs when it is reaped.
    Adopt = Callable[[int, Callable[[int], None]], None]


class FetchedPages:
    """The children that read pages, by worker and by the call that needs them."""

    def __init__(self, adopt: Adopt) -> None:
        self._adopt = adopt
        self._under_way: dict[Hashable, tuple[int, memory.Fetch]] = {}

    def waits(self, owner: Hashable) -> bool:
        """Whether a child still reads for this worker: its calls must wait."""
        found = self._under_way.get(owner)
        return found is not None and found[1].found is None

    def fetch(self, owner: Hashable, call: int, missing: memory.NotPresentError) -> bool:
        """Read the missing pages for `call`, unless a child is reading already.

        False: what a child tried to read for this call is not valid memory.
        """
        known, before = self._under_way.get(owner, (0, None))
        if before is not None:
            if before.found is None:
                return True
            del self._under_way[owner]
            if known == call and not before.found:
                return False
        if missing.pages:
            try:
                begun = memory.Fetch(missing)
            except OSError:
                return True  # no child now (EAGAIN), or the process is gone: retried
            self._under_way[owner] = (call, begun)
            self._adopt(begun.pid, begun.ended)
        return True

    def drop(self, owner: Hashable) -> None:
        """Forget a worker of which no process remains."""
        found = self._under_way.pop(owner, None)
        if found is not None:
            found[1].abandon()
