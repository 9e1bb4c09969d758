"""What changes between two plans, shown before it is done.

Pure. It never holds values of environments: it names a changed variable.
"""

from __future__ import annotations

from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec, Plan

ADDED = "added"
REMOVED = "removed"
SCALED = "scaled"
CHANGED = "changed"
# What concerns the log alone, which changes under the workers, or the next boot alone.
LIVE = "live"
_LOG_KEYS = ("time", "multiline")
_BOOT_KEYS = ("autostart",)
# What pyinit itself goes by: when it acts, not what a worker is.
_OWN_KEYS = ("cron_restart", "overlap", "on_errored")
# Of an app: no worker is replaced because of these.
KEEPING_WORKERS = ("instances", "by_cpus", *_LOG_KEYS, *_BOOT_KEYS, *_OWN_KEYS)

# Read once, at boot: a change counts for the next container.
FIXED = ("control",)
LIVE_SECTIONS = ("probes", "log", "shutdown", "watch_config")


class Change(Record):
    """One app. `keys`: what the file says differently, `env.NAME` for a variable.

    `was` and `now` are numbers of instances; `added` has only the second, `removed` only
    the first. With `scaled`, where `instances` differs, and `live`, where it does not, no
    worker is replaced.
    """

    app: str
    kind: str
    keys: tuple[str, ...] = ()
    was: int = 0
    now: int = 0

    @property
    def text(self) -> str:
        """For people: `web: changed (command, env.MODE), to be reloaded; 2 instances → 4`."""
        return self.describe()

    def describe(self, *, stopped: bool = False) -> str:
        """`text`, of an app that may have been stopped."""
        if self.kind == ADDED:
            return f"{self.app}: added, {_instances(self.now)}"
        if self.kind == REMOVED:
            return f"{self.app}: removed, {_instances(self.was)} to stop"
        if self.kind == LIVE:
            return f"{self.app}: {self._besides}"
        scaled = f"{_instances(self.was)} → {self.now}"
        if self.kind == SCALED:
            return f"{self.app}: " + "; ".join(filter(None, (f"scaled, {scaled}", self._besides)))
        then = "for its next start" if stopped else "to be reloaded"
        describe = f"{self.app}: changed ({', '.join(self.keys)}), {then}"
        return describe if self.was == self.now else f"{describe}; {scaled}"

    @property
    def _besides(self) -> str:
        """What else changes without a worker being replaced, and when it counts."""
        log = [key for key in self.keys if key in (*_LOG_KEYS, *_OWN_KEYS)]
        boot = [key for key in self.keys if key in _BOOT_KEYS]
        describe = [f"{', '.join(log)}, at once"] if log else []
        return "; ".join((*describe, *(f"{key}, at the next boot" for key in boot)))


def _instances(number: int) -> str:
    return f"{number} instance{'' if number == 1 else 's'}"


def differences(old: Plan, new: Plan) -> tuple[Change, ...]:
    """What becomes of each app that is touched: removed ones first, then by the new file."""
    gone = [
        Change(app.name, REMOVED, was=app.instances)
        for app in old.apps
        if new.app(app.name) is None
    ]
    touched = []
    for app in new.apps:
        before = old.app(app.name)
        if before is None:
            touched.append(Change(app.name, ADDED, now=app.instances))
        elif before != app:
            keys = changed_keys(before, app)
            kind = CHANGED
            if keeps_workers(before, app):
                kind = SCALED if before.instances != app.instances else LIVE
            touched.append(Change(app.name, kind, keys, before.instances, app.instances))
    return (*gone, *touched)


def keeps_workers(old: AppSpec, new: AppSpec) -> bool:
    """No worker has to be replaced to make `old` what `new` says."""
    return old.replace(**{key: getattr(new, key) for key in KEEPING_WORKERS}) == new


def changed_keys(old: AppSpec, new: AppSpec) -> tuple[str, ...]:
    """Names of what differs, in the order of the spec."""
    keys: list[str] = []
    for key, was in old.as_dict().items():
        now = getattr(new, key)
        if was == now:
            continue
        if key == "env":
            before, after = dict(was), dict(now)
            names = sorted({*before, *after})
            differing = [name for name in names if before.get(name) != after.get(name)]
            # Only their order differs: still not the same spec.
            keys += [f"env.{name}" for name in differing] or ["env"]
        else:
            keys.append(key)
    return tuple(keys)


def says_the_same(old: Plan, new: Plan) -> bool:
    """Nothing in the file changed. Its CPUs are the container's."""
    return old.replace(revision=new.revision, source=new.source, cpus=new.cpus) == new


def live_keys(old: Plan, new: Plan) -> tuple[str, ...]:
    """Top-level keys that differ and count at once."""
    return tuple(key for key in LIVE_SECTIONS if getattr(old, key) != getattr(new, key))


def fixed_keys(old: Plan, new: Plan) -> tuple[str, ...]:
    """Top-level keys that differ and wait for a new container."""
    return tuple(key for key in FIXED if getattr(old, key) != getattr(new, key))
