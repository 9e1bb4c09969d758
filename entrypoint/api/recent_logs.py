"""Keeps recent log records for `pyinit logs`.

Stdout belongs to the container's engine, which a process inside cannot read. So a small
part is kept here, at most `BYTES_LIMIT` and `RECORDS_LIMIT` chunks for all apps together,
however many there are; a verbose app displaces its own lines first.

The pump passes whole records as they go to stdout. Keeping them costs a reference.
"""

from __future__ import annotations

from entrypoint.logs.schema import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    Follower = Callable[[str, bytes], None]
else:
    from _collections import deque

BYTES_LIMIT = 256 * 1024
# One chunk is what one read of a worker's pipe brought: a line or hundreds.
CHUNKS_LIMIT = 400
# Of one chunk no more than its end is kept.
CHUNK_LIMIT = 32 * 1024
# What a chunk costs beside its bytes: the object and its place in the queue.
_COST = 160


class Choice:
    """The apps, and instances of them, whose records are requested; none: everything.

    Events of pyinit's own that name one of them are theirs too (where they are JSON).
    `key`, `instance_key`: what the records call an app and an instance.
    """

    def __init__(
        self,
        apps: tuple[tuple[str, tuple[int, ...]], ...],
        key: str = "app",
        instance_key: str = "instance",
    ) -> None:
        self._apps = {name: _marks(name, instances, instance_key) for name, instances in apps}
        self._key = quote(key) + b":"

    def takes(self, app: str, records: bytes) -> bool:
        """Whether this chunk, which is all of one worker, is wanted."""
        if not self._apps:
            return True
        if app:
            return app in self._apps and self._of(app, records)
        return any(
            self._key + quote(name) in records and self._of(name, records) for name in self._apps
        )

    def _of(self, app: str, records: bytes) -> bool:
        marks = self._apps[app]
        return not marks or any(mark in records for mark in marks)


def _marks(app: str, instances: tuple[int, ...], key: str) -> tuple[bytes, ...]:
    """Byte strings that a record of these workers contains: as JSON, and under its label."""
    found: list[bytes] = []
    # The key may have a prefix, where a worker's own object has one of that name.
    name = quote(key)[1:] + b":"
    for instance in instances:
        found += [name + b"%d%c" % (instance, end) for end in b",}"]
        found.append(f"{app}:{instance} ".encode("utf-8", "replace"))
    return tuple(found)


class Recent:
    """The last records of each app, and their followers.

    The app of pyinit's own events is `""`.
    """

    def __init__(self) -> None:
        self._chunks: dict[str, deque[tuple[int, bytes]]] = {}
        self._sizes: dict[str, int] = {}
        self._size = 0
        self._count = 0
        self._number = 0
        self._followers: dict[Follower, None] = {}

    def __call__(self, app: str, records: bytes) -> None:
        """Whole records of `app` that go to stdout now."""
        if not records:
            return
        for follower in tuple(self._followers):
            follower(app, records)
        if len(records) > CHUNK_LIMIT:
            records = records[records.find(b"\n", len(records) - CHUNK_LIMIT - 1) + 1 :]
            if not records or len(records) > CHUNK_LIMIT:
                return  # one record longer than all that is kept
        chunks = self._chunks.get(app)
        if chunks is None:
            chunks = self._chunks[app] = deque()
            self._sizes[app] = 0
        self._number += 1
        chunks.append((self._number, records))
        cost = len(records) + _COST
        self._sizes[app] += cost
        self._size += cost
        self._count += 1
        while self._size > BYTES_LIMIT or self._count > CHUNKS_LIMIT:
            self._drop_one()

    def _drop_one(self) -> None:
        app = max(self._sizes, key=self._sizes.__getitem__)
        _, records = self._chunks[app].popleft()
        cost = len(records) + _COST
        self._sizes[app] -= cost
        self._size -= cost
        self._count -= 1
        if not self._chunks[app]:
            del self._chunks[app], self._sizes[app]

    @property
    def size(self) -> int:
        """Approximate bytes stored."""
        return self._size

    def last(self, choice: Choice, lines: int) -> bytes:
        """The last `lines` records of the chosen apps, oldest first."""
        chosen = [
            chunk
            for app, chunks in self._chunks.items()
            for chunk in chunks
            if choice.takes(app, chunk[1])
        ]
        chosen.sort()
        found: list[bytes] = []
        left = lines
        for _, records in reversed(chosen):
            if left <= 0:
                break
            here = records.split(b"\n")[:-1][-left:]
            left -= len(here)
            found.append(b"\n".join(here) + b"\n")
        return b"".join(reversed(found))

    def follow(self, follower: Follower) -> None:
        """Have every further chunk handed to `follower(app, records)`."""
        self._followers[follower] = None

    def unfollow(self, follower: Follower) -> None:
        """Stop following; a no-op if it did not follow."""
        self._followers.pop(follower, None)
