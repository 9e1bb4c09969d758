"""Folders watched with all that is below them, and single files.

inotify(7) watches one folder, not a tree: each folder gets a watch, new ones when they
appear. What happens between the appearance of a folder and its watch would be missed,
so a folder that is added later is listed after its watch is there, and counts as a
change itself. What was missed altogether (IN_Q_OVERFLOW) makes everything be looked
through again, and counts as a change too: better one reload too many.

A root that is deleted, or not there yet, is waited for in the nearest folder above it
that exists. A single file is watched through its folder, for editors save by renaming a
new file over the old one, and by itself, for what is written to the other end of a bind
mount is reported there only. A link to a file is watched wherever its way leads through
(links.py): a release is often a link `current`, a Kubernetes ConfigMap the link `..data`.

A folder that is reached by several paths has one watch (inotify(7)), so what is wanted
in it is remembered by the number of the watch.

Trees are walked in slices, one a turn of the loop, so that ten thousand folders hold up
neither signals nor probes.
"""

from __future__ import annotations

import os
from collections import deque

from entrypoint.kernel.inotify import Changed, Inotify, WatchLimitError
from entrypoint.loop import READ

from .ignoring import CONFIGMAP_LINK
from .links import hops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from entrypoint.loop import Loop

# Folders added in one turn of the loop: some milliseconds.
SLICE = 100
# Changes that come within this are one (s): a build or a checkout writes many files.
QUIET = 0.1
# Changes that never pause are reported at least this often (s).
AT_LEAST = 3.0
# Paths of a burst that are remembered, to tell people one of them.
NOTED_LIMIT = 64
# Files whose last change is remembered.
CLOSED_LIMIT = 4096


class Watcher:
    """Tells `changed(path)` once for each burst of changes below `roots`.

    `delay`: PM2's `watch_delay`, seconds that must be quiet before it tells.
    `failed(sentence)`: something cannot be watched; the rest still is. Raises
    WatchLimitError when there is no inotify instance left.
    """

    def __init__(
        self,
        loop: Loop,
        roots: tuple[str, ...],
        ignored: Callable[[bytes], bool],
        changed: Callable[[str], None],
        failed: Callable[[str], None],
        delay: float = 0.0,
    ) -> None:
        self._loop = loop
        self._roots = tuple(os.fsencode(os.path.normpath(root)) for root in roots)
        self._ignored = ignored
        self._changed = changed
        self._failed = failed
        self._quiet = max(QUIET, delay)
        self._first_change = 0.0
        # Paths of this burst, and whether they were not there before it.
        self._noted: dict[bytes, bool] = {}
        # Files that were closed: st_ctime_ns.
        self._closed: dict[bytes, int] = {}
        self._begin(Inotify())

    def _begin(self, inotify: Inotify) -> None:
        """Watch all roots with an instance that has no watch yet."""
        self._inotify = inotify
        self._paths: dict[int, bytes] = {}
        self._watches: dict[bytes, int] = {}
        # Watches of folders that were listed too, not only watched for what is above them.
        self._walked: set[int] = set()
        # By watch and name: roots, or what is above them, that may come and go there.
        self._wanted: dict[int, dict[bytes, bytes]] = {}
        # By watch and name: the paths whose way leads through there; and back.
        self._through: dict[int, dict[bytes, set[bytes]]] = {}
        self._ways: dict[bytes, list[tuple[int, bytes]]] = {}
        self._todo: deque[tuple[bytes, bool]] = deque()
        self._full = False
        # Events were lost: what is watched again after the walk counts as a change.
        self._missed = False
        self._loop.register(self._inotify.fd, READ, self._readable)
        for root in self._roots:
            self._watch_root(root)

    @property
    def folders(self) -> int:
        """How many folders and files are watched."""
        return len(self._watches)

    def close(self) -> None:
        """Stop watching."""
        self._loop.cancel(("watch", id(self)))
        self._end()

    def _end(self) -> None:
        self._loop.cancel(("walk", id(self)))
        self._loop.unregister(self._inotify.fd)
        self._inotify.close()

    # -- adding ----------------------------------------------------------------------

    def _watch_root(self, root: bytes) -> None:
        """Watch a root, and where it will be when it is not there."""
        parent, name = os.path.split(root)
        if name:
            self._want(parent, name)
        self._follow(root)
        if os.path.isdir(root):
            self._later(root, quiet=True)
        elif os.path.isfile(root):
            self._add(root)

    def _want(self, folder: bytes, name: bytes) -> None:
        """Notice `name` appearing in `folder`, or in what exists above it."""
        while folder and not os.path.isdir(folder):
            folder, name = os.path.split(folder)
            if not name:
                return
        wd = self._add(folder)
        if wd >= 0:
            self._wanted.setdefault(wd, {})[name] = os.path.join(folder, name)

    def _follow(self, path: bytes) -> None:
        """Notice whatever changes where `path` leads, if links are on its way."""
        for wd, name in self._ways.pop(path, ()):
            names = self._through.get(wd, {})
            others = names.get(name, set())
            others.discard(path)
            if not others:
                names.pop(name, None)
        way = hops(path)
        if len(way) < 2:
            return
        # Everybody writes to /dev/null.
        if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
            return
        for folder, name in way:
            wd = self._add(folder, rename=False)
            if wd >= 0:
                self._through.setdefault(wd, {}).setdefault(name, set()).add(path)
                self._ways.setdefault(path, []).append((wd, name))

    def _later(self, folder: bytes, *, quiet: bool) -> None:
        """Walk a tree; `quiet`: what is found in it is no change."""
        self._todo.append((folder, quiet))
        self._loop.call_at(("walk", id(self)), self._loop.now(), self._walk)

    def _walk(self) -> None:
        for _ in range(SLICE):
            if not self._todo:
                break
            folder, quiet = self._todo.popleft()
            self._add_folder(folder, quiet=quiet)
        if self._todo:
            self._loop.call_at(("walk", id(self)), self._loop.now(), self._walk)
        elif self._missed:
            self._missed = False
            self._note(self._roots[0])

    def _add_folder(self, folder: bytes, *, quiet: bool) -> None:
        if not os.path.isdir(folder):
            return  # gone again
        # Links are followed, once: a link to a folder above would be walked for ever. The
        # kernel has the same number for the same folder.
        wd = self._add(folder, unless=self._walked)
        if wd < 0 or self._paths[wd] != folder:
            return
        self._walked.add(wd)
        try:
            with os.scandir(folder) as entries:
                inside = [
                    (each.path, each.is_dir(follow_symlinks=False), each.is_symlink())
                    for each in entries
                ]
        except FileNotFoundError:
            return  # gone again
        except OSError as error:
            self._failed(f"{os.fsdecode(folder)}: {error.strerror}")
            return
        for path, is_folder, is_link in inside:
            if self._ignored(path):
                continue
            if not quiet:
                self._note(path, created=True)
            if is_folder:
                # Before what links lead to: a folder goes by its own path if it has one here.
                self._todo.appendleft((path, quiet))
            elif is_link:
                self._link(path, quiet=quiet)

    def _link(self, path: bytes, *, quiet: bool) -> None:
        self._follow(path)
        # Not the entry's is_dir(): it raises for a circle, or where we may not look.
        if os.path.isdir(path):
            self._later(path, quiet=quiet)

    def _add(self, path: bytes, *, rename: bool = True, unless: Container[int] = ()) -> int:
        """The number of the watch of a file or folder; negative: it has none.

        `rename`: a folder that is watched by another path goes by this one from now on,
        `unless` it is one of these.
        """
        if path in self._watches:
            return self._watches[path]
        if self._full:
            return -1
        try:
            wd = self._inotify.add(path)
        except WatchLimitError as error:
            self._full = True
            self._todo.clear()
            self._failed(f"{os.fsdecode(path)}: {error.strerror}; not all is watched")
            return -1
        except FileNotFoundError:
            return -1  # gone again
        except OSError as error:
            self._failed(f"{os.fsdecode(path)}: {error.strerror}")
            return -1
        before = self._paths.get(wd)
        if before is None or (rename and wd not in unless):
            if before is not None:
                self._watches.pop(before, None)
            self._paths[wd] = path
            self._watches[path] = wd
        return wd

    def _drop_tree(self, folder: bytes) -> None:
        below = folder + b"/"
        led: set[bytes] = set()
        for path in [p for p in self._watches if p == folder or p.startswith(below)]:
            wd = self._watches[path]
            self._inotify.remove(wd)
            led |= self._led_through(wd)
            self._lost(wd)
        for path in led:
            self._follow(path)

    def _led_through(self, wd: int) -> set[bytes]:
        return {path for paths in self._through.get(wd, {}).values() for path in paths}

    def _lost(self, wd: int) -> None:
        """The kernel has, or will have, no such watch."""
        path = self._paths.pop(wd, None)
        if path is not None:
            self._watches.pop(path, None)
        self._walked.discard(wd)
        self._wanted.pop(wd, None)
        self._through.pop(wd, None)

    # -- what happens ------------------------------------------------------------------

    def _readable(self, _events: int) -> None:
        overflow = self._inotify.flags.IN_Q_OVERFLOW
        for event in self._inotify.read():
            if event.mask & overflow:
                self._overflowed()
                return  # what follows is about watches that are no more
            self._one(event)

    def _one(self, event: Changed) -> None:
        flags = self._inotify.flags
        folder = self._paths.get(event.wd)
        if folder is None:
            return
        if event.mask & flags.IN_IGNORED:
            # The kernel dropped the watch: its folder is gone.
            led = self._led_through(event.wd)
            self._lost(event.wd)
            self._gone(folder, led)
            return
        if event.mask & (flags.IN_DELETE_SELF | flags.IN_MOVE_SELF):
            if self._in_root(folder):
                self._note(folder)
            led = set()
            if event.mask & flags.IN_MOVE_SELF:
                led = self._led_through(event.wd)
                self._drop_tree(folder)
            self._gone(folder, led)
            return
        # Neither says that the file is another one now.
        doubtful = event.mask & (flags.IN_CLOSE_WRITE | flags.IN_ATTRIB)
        touched = bool(event.mask & flags.IN_ATTRIB)
        if touched and event.mask & flags.IN_ISDIR:
            return
        if not event.name:  # a file that is watched by itself
            if not doubtful or self._written(folder, touched=touched):
                self._note(folder)
            return
        path = folder + b"/" + event.name if folder != b"/" else b"/" + event.name
        leading = tuple(self._through.get(event.wd, {}).get(event.name, ()))
        counts = self._counts(folder, path, event.name)
        if doubtful and not ((leading or counts) and self._written(path, touched=touched)):
            return
        appeared = bool(event.mask & (flags.IN_CREATE | flags.IN_MOVED_TO))
        for each in leading:
            self._leads_elsewhere(each)
        wanted = self._wanted.get(event.wd, {}).get(event.name)
        if appeared and wanted is not None:
            self._look_for_roots(wanted)
        if not counts:
            return
        is_folder = bool(event.mask & flags.IN_ISDIR)
        if is_folder and event.mask & flags.IN_MOVED_FROM:
            self._drop_tree(path)
        elif appeared:
            self._appeared(path, is_folder=is_folder)
        self._note(path, created=bool(event.mask & flags.IN_CREATE))

    def _written(self, path: bytes, *, touched: bool) -> bool:
        """Whether a file is not as it was when it was closed the last time.

        `touched`: its time, mode or owner was set. `touch` of BusyBox, and Python's, do not
        open the file; that they set the time to now is what tells them from chmod(1).

        Whoever opens it for writing and writes nothing closes it, too: SQLite does for
        each connection, and a worker's death for every file that it had open. A restart for
        that would be followed by the next one. The first time counts: nobody knows how it
        was. st_ctime, for nobody can set it back.
        """
        try:
            found = os.stat(path)
        except OSError:
            return not touched
        now = found.st_ctime_ns
        if touched and found.st_mtime_ns != now:
            return False
        if len(self._closed) >= CLOSED_LIMIT:
            self._closed.clear()
        before, self._closed[path] = self._closed.get(path), now
        return now != before

    def _gone(self, folder: bytes, led: set[bytes]) -> None:
        """Roots may have gone with a folder; `led`: the paths whose way was through it."""
        self._look_for_roots(folder)
        for path in led:
            self._leads_elsewhere(path)

    def _appeared(self, path: bytes, *, is_folder: bool) -> None:
        if path in self._watches and not is_folder and path not in self._roots:
            self._drop_tree(path)  # a link to another folder than before
        if is_folder:
            self._later(path, quiet=False)
        elif os.path.islink(path):
            self._link(path, quiet=False)

    def _leads_elsewhere(self, path: bytes) -> None:
        """Something on the way of `path` has changed."""
        if path in self._roots:
            self._drop_tree(path)
            self._watch_root(path)
        else:
            if path in self._watches:
                self._drop_tree(path)
            self._link(path, quiet=True)
        if path in self._roots or not self._ignored(path):
            self._note(path)

    def _counts(self, folder: bytes, path: bytes, name: bytes) -> bool:
        """It is a root itself, or below one and not ignored."""
        if path in self._roots:
            return True
        if name == CONFIGMAP_LINK:
            # The swap of a ConfigMap, for the files whose links lead through it.
            return self._in_root(folder) or any(
                os.path.dirname(root) == folder for root in self._roots
            )
        return self._in_root(folder) and not self._ignored(path)

    def _in_root(self, path: bytes) -> bool:
        return any(path == root or path.startswith(root + b"/") for root in self._roots)

    def _look_for_roots(self, near: bytes) -> None:
        """Roots at or below `near` may have come or gone."""
        for root in self._roots:
            if root == near or root.startswith(near + b"/"):
                there = root in self._watches
                self._watch_root(root)
                if not there and os.path.exists(root) and root != near:
                    self._note(root)

    def _overflowed(self) -> None:
        # Also lost may be that watches ended (IN_IGNORED), and nothing else tells which:
        # none is kept. In another instance, for each watch that is removed from this one
        # would be one more event in its full queue.
        self._note(self._roots[0])
        try:
            fresh = Inotify()
        except OSError as error:
            self._failed(f"{error.strerror}; not all is watched")
            return
        self._end()
        self._begin(fresh)
        self._missed = True

    # -- telling -------------------------------------------------------------------------

    def _note(self, path: bytes, *, created: bool = False) -> None:
        now = self._loop.now()
        if not self._first_change:
            self._first_change = now
        if len(self._noted) < NOTED_LIMIT:
            self._noted.setdefault(path, created)
        due = min(now + self._quiet, self._first_change + max(AT_LEAST, self._quiet))
        self._loop.call_at(("watch", id(self)), due, self._tell)

    def _tell(self) -> None:
        noted, self._noted, self._first_change = self._noted, {}, 0.0
        if len(noted) < NOTED_LIMIT and not any(
            os.path.lexists(path) or not created for path, created in noted.items()
        ):
            return  # made and gone again: all is as it was
        self._changed(os.fsdecode(_telling(tuple(noted))))


def _telling(paths: tuple[bytes, ...]) -> bytes:
    """The path of a burst that tells most: not the file that an editor renamed or removed."""
    there = [path for path in paths if os.path.lexists(path)]
    return next((path for path in there if not os.path.isdir(path)), (*there, *paths, b"")[0])
