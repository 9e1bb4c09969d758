"""Pages of workers that a child reads, because PID 1 would wait for their file system.

One child for a worker at a time; its calls wait until that has ended, for ever where the
file system is dead. See kernel/memory.py.
"""

from __future__ import annotations

from entrypoint.kernel import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    # A child of this pid is a helper; what to call when it was reaped.
    Adopt = Callable[[int, Callable[[int], None]], None]


class FetchedPages:
    """The children that read pages, by worker and by the call that needs them."""

    def __init__(self, adopt: Adopt) -> None:
        self._adopt = adopt
        self._under_way: dict[Hashable, tuple[int, memory.Fetch]] = {}

    def waits(self, owner: Hashable) -> bool:
        """A child still reads for this worker: its calls are not to be looked at."""
        found = self._under_way.get(owner)
        return found is not None and found[1].found is None

    def fetch(self, owner: Hashable, call: int, missing: memory.NotPresentError) -> bool:
        """Read what is missing for `call`, unless a child reads already.

        False: what a child tried to read for this call is no memory.
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
                return True  # no child now (EAGAIN), or the process is gone: tried again
            self._under_way[owner] = (call, begun)
            self._adopt(begun.pid, begun.ended)
        return True

    def drop(self, owner: Hashable) -> None:
        """No process of this worker is left."""
        found = self._under_way.pop(owner, None)
        if found is not None:
            found[1].abandon()
