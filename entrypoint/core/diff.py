"""Differences between two plans, shown before they are applied.

Pure. Never contains values of environments, only the names of changed variables.
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
# Keys that only affect the log, which changes while workers run, or only the next boot.
LIVE = "live"
_LOG_KEYS = ("time", "multiline")
_BOOT_KEYS = ("autostart",)
# Keys that control when pyinit acts, not what a worker is.
_OWN_KEYS = ("cron_restart", "overlap", "on_errored")
# Keys of an app whose change replaces no worker.
KEEPING_WORKERS = ("instances", "by_cpus", *_LOG_KEYS, *_BOOT_KEYS, *_OWN_KEYS)

# Keys read once, at boot: a change applies to the next container.
FIXED = ("control",)
LIVE_SECTIONS = ("probes", "log", "shutdown", "watch_config")


class Change(Record):
    """Changes of one app. `keys`: the changed keys, `env.NAME` for a variable.

    `was` and `now` are numbers of instances; an `added` app has only `now`, a `removed` one
    only `was`. No worker is replaced for `scaled`, where `instances` differs, or `live`,
    where it does not.
    """

    app: str
    kind: str
    keys: tuple[str, ...] = ()
    was: int = 0
    now: int = 0

    @property
    def text(self) -> str:
        """Text for people: `web: changed (command, env.MODE), to be reloaded; 2 instances → 4`."""
        return self.describe()

    def describe(self, *, stopped: bool = False) -> str:
        """`text`, for an app that may be stopped."""
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
        """Changes that replace no worker, and when they apply."""
        log = [key for key in self.keys if key in (*_LOG_KEYS, *_OWN_KEYS)]
        boot = [key for key in self.keys if key in _BOOT_KEYS]
        describe = [f"{', '.join(log)}, at once"] if log else []
        return "; ".join((*describe, *(f"{key}, at the next boot" for key in boot)))


def _instances(number: int) -> str:
    return f"{number} instance{'' if number == 1 else 's'}"


def differences(old: Plan, new: Plan) -> tuple[Change, ...]:
    """Change of each affected app: removed ones first, then in the order of the new file."""
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
    """Whether `old` can become `new` without replacing a worker."""
    return old.replace(**{key: getattr(new, key) for key in KEEPING_WORKERS}) == new


def changed_keys(old: AppSpec, new: AppSpec) -> tuple[str, ...]:
    """Names of the fields that differ, in the order of the spec."""
    keys: list[str] = []
    for key, was in old.as_dict().items():
        now = getattr(new, key)
        if was == now:
            continue
        if key == "env":
            before, after = dict(was), dict(now)
            names = sorted({*before, *after})
            differing = [name for name in names if before.get(name) != after.get(name)]
            # Only the order differs, which still is a different spec.
            keys += [f"env.{name}" for name in differing] or ["env"]
        else:
            keys.append(key)
    return tuple(keys)


def says_the_same(old: Plan, new: Plan) -> bool:
    """Whether the file is unchanged. The number of CPUs comes from the container."""
    return old.replace(revision=new.revision, source=new.source, cpus=new.cpus) == new


def live_keys(old: Plan, new: Plan) -> tuple[str, ...]:
    """Top-level keys that differ and apply at once."""
    return tuple(key for key in LIVE_SECTIONS if getattr(old, key) != getattr(new, key))


def fixed_keys(old: Plan, new: Plan) -> tuple[str, ...]:
    """Top-level keys that differ and need a new container."""
    return tuple(key for key in FIXED if getattr(old, key) != getattr(new, key))
