"""The checked and resolved content of the file: the plan, apart from the running state.

`config` makes these values; the core reads them. Times are seconds
(`float`), sizes are bytes, signals are numbers of `signal(7)`. Where a key exists in
PM2 its meaning is that of PM2's ecosystem file.
"""

from __future__ import annotations

from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .types import TreeKill


class ListenSpec(Record):
    """One address of an app.

    `family` is `inet`, `inet6` or `unix`; `host` is a numeric address for the first
    two (a bare port means `inet6` `::` with `v6only=False`, dual-stack, where the
    host has IPv6, else `inet` `0.0.0.0`) and `path` a file for the third, or an
    abstract name that begins with `@`. `mode` is the permission of a unix socket. An `optional`
    address is not needed for readiness.
    """

    family: str
    host: str = ""
    port: int = 0
    path: str = ""
    name: str = ""
    backlog: int = 4096
    mode: int | None = None
    v6only: bool = False
    optional: bool = False

    @property
    def text(self) -> str:
        """The address as people write it: `0.0.0.0:80`, `[::]:80`, `unix:/run/a.sock`."""
        if self.family == "unix":
            return f"unix:{self.path}"
        if self.family == "inet6":
            return f"[{self.host}]:{self.port}"
        return f"{self.host}:{self.port}"


class HealthSpec(Record):
    """An active check of a worker: exactly one of `http`, `tcp`, `command`."""

    http: str = ""
    tcp: str = ""
    command: tuple[str, ...] = ()
    interval: float = 10.0
    timeout: float = 3.0
    failures: int = 3
    start_period: float = 0.0


class DependsSpec(Record):
    """`depends_on` with Compose's condition."""

    app: str
    condition: str = "service_started"


class AppSpec(Record):
    """One app of the file."""

    name: str
    # What is executed. `command[0]` is looked up in the worker's PATH by execvpe's
    # rules when it has no slash. `{fd}`, `{port}`, `{instance}`, `{slot}` are not replaced yet.
    command: tuple[str, ...]
    cwd: str
    # The whole environment of a worker, except what pyinit adds for each worker
    # (NODE_APP_INSTANCE, LISTEN_*, NOTIFY_SOCKET, NODE_CHANNEL_FD, …).
    env: tuple[tuple[str, str], ...] = ()
    # Names in `env` whose values hold `{fd}`, `{port}`, `{instance}` or `{slot}`.
    filled_env: tuple[str, ...] = ()
    # The program is Node's (`node file.js`, a `#!/usr/bin/env node` script such as
    # `serve`, or npm/npx/yarn, which start one): offer it Node's own protocols.
    node: bool = False
    # Node's IPC channel in fork mode too; PM2's variables; `{port}` and so on in `command`.
    ipc: bool = False
    pm2_env: bool = False
    placeholders: bool = True
    exec_mode: str = "fork"  # fork | cluster
    instances: int = 1
    instance_var: str = "NODE_APP_INSTANCE"
    increment_var: str = ""
    autostart: bool = True
    autorestart: bool = True
    # The container ends when this app has finished, with its exit code.
    main: bool = False
    max_restarts: int = 16
    min_uptime: float = 1.0
    # The file does not set `min_uptime`: crashes after a longer time count too if they
    # repeat (restarts.py).
    learn_min_uptime: bool = False
    restart_delay: float = 0.0
    exp_backoff_restart_delay: float = 0.0
    stop_exit_codes: tuple[int, ...] = ()
    max_memory_restart: int = 0  # bytes; AUTO: its share (budget.py)
    memory: str = "off"  # off | auto: workers are told their share of the container
    # The file counts `instances` by the CPUs: `max` is 0, `-1` one fewer. None: it does not.
    by_cpus: int | None = None
    cron_restart: str = ""
    overlap: str = ""  # skip | wait | kill; "": depends on the kind of app (jobs.py)
    watch: tuple[str, ...] = ()  # absolute folders or files; empty: not watched
    ignore_watch: tuple[str, ...] = ()
    watch_delay: float = 0.0
    wait_ready: bool = False
    listen_timeout: float = 3.0
    on_listen_timeout: str = "auto"  # force | abort | auto
    kill_timeout: float = 8.0
    # None: the signal that pyinit received, SIGTERM for a stop that pyinit begins.
    kill_signal: int | None = None
    shutdown_with_message: bool = False
    # What a stop ends beside the worker: `tree` its process group and all descendants, `all`
    # also those reparented earlier, `group` only the group, `none` no others.
    treekill: TreeKill = "tree"
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None  # None: those of the user by initgroups(3)
    # Of setrlimit(2): name, soft, hard; -1 is unlimited.
    rlimits: tuple[tuple[str, int, int], ...] = ()
    umask: int | None = None
    nice: int = 0
    oom_score_adj: int | None = None
    stdin: str = "null"  # null | open
    tty: bool = False
    # Commands around each worker, as argument vectors, with placeholders in them.
    before_start: tuple[tuple[str, ...], ...] = ()
    before_start_timeout: float = 60.0
    after_stop: tuple[tuple[str, ...], ...] = ()
    namespace: str = "default"
    time: bool = False
    # "": one record a line; `auto`, or `^` and a regular expression (logs/multiline.py).
    multiline: str = ""
    listen: tuple[ListenSpec, ...] = ()
    share: str = "none"  # slots | generations | one | none (fork mode without `listen`)
    retire_delay: float = 0.5
    # The file does not set `retire_delay`: a worker that has answered all gets its signal earlier.
    retire_when_quiet: bool = False
    # How long a worker keeps its connections after a reload replaced it (s); 0: not at all.
    drain: float = 0.0
    handoff: str = "auto"  # auto | fds | intercept | node | none
    health: HealthSpec | None = None
    watchdog: float = 0.0  # 0: none
    depends_on: tuple[DependsSpec, ...] = ()
    on_errored: str = "exit"  # exit | keep | wait
    # How long a worker may let connections wait and accept none (s); 0: no limit.
    # None: learned (stalls.py).
    stall_timeout: float | None = None
    # One worker at a time in a reload unless the file says otherwise.
    reload_parallel: int = 1
    # How long the first new worker of a reload lives before an old one is stopped (s). None:
    # twice the old worker's time from listen(2) to its first accept.
    min_ready: float | None = None
    # Connections waiting for a crashed worker may be relayed to its siblings, which then see a
    # connection from this host instead of the client's address.
    relay: bool = False

    @property
    def surge(self) -> int:
        """Spare slots for a reload: never more than the workers to replace."""
        return max(1, min(self.reload_parallel, self.instances))

    def __repr__(self) -> str:
        """Omits what may hold secrets: events, effects and workers are shown in error logs."""
        hidden = ("env", "command", "health", "before_start", "after_stop")
        inside = ", ".join(f"{f}={getattr(self, f)!r}" for f in self._fields if f not in hidden)
        return f"AppSpec({inside}, …)"


class ProbeSpec(Record):
    """`probes:`; empty `listen` means no probe server."""

    listen: tuple[ListenSpec, ...] = ()
    ready_when: str = "auto"  # auto | all | any | N | N%
    metrics: bool = True
    page: bool = True  # `/`, for people


class LogSpec(Record):
    """`log:`"""

    format: str = "json"  # json | console | raw | auto (console on a terminal)
    level: str = "info"  # of pyinit's own events: debug | info | warning | error
    keys: str = "default"  # default | gcp | ecs | otel | datadog (logs/layout.py)
    # Keys with other names than in the preset: (timestamp | level | …, name).
    names: tuple[tuple[str, str], ...] = ()


class ControlSpec(Record):
    """`control:`; `path` empty: the first path that can be used (api/socket_path.py)."""

    enabled: bool = True
    path: str = ""


# `AppSpec.max_memory_restart` for `auto`.
AUTO = -1

# Value of `ShutdownSpec.notify`: over Node's channel instead of by a signal.
MESSAGE = -1


class ShutdownSpec(Record):
    """`shutdown:`; `timeout` 0: no bound but each app's `kill_timeout`.

    `stop_share`: factor for each `kill_timeout` and `retire_delay` in a shutdown (grace.py).
    """

    drain_delay: float = 0.0
    timeout: float = 0.0
    grace: float = 0.0
    stop_share: float = 1.0
    # Signals that stop the container, beside SIGTERM, SIGINT and SIGQUIT.
    signals: tuple[int, ...] = ()
    notify: int = 0  # how workers learn that the drain begins; 0: they do not


class Plan(Record):
    """The whole file. `revision` grows by one with each accepted file."""

    apps: tuple[AppSpec, ...]
    probes: ProbeSpec = ProbeSpec()
    log: LogSpec = LogSpec()
    control: ControlSpec = ControlSpec()
    shutdown: ShutdownSpec = ShutdownSpec()
    watch_config: bool = False  # read the file again when it changes, as SIGHUP does
    cpus: int = 1  # usable: by the affinity mask and the cgroup's limit
    revision: int = 1
    source: str = ""
    # Other files that were read for it: absolute paths of variables and secrets.
    files: tuple[str, ...] = ()

    def app(self, name: str) -> AppSpec | None:
        """The app of that name, or None."""
        for app in self.apps:
            if app.name == name:
                return app
        return None


_NAMES: dict[str, type[Record]] = {
    cls.__name__: cls
    for cls in (
        ListenSpec,
        HealthSpec,
        DependsSpec,
        AppSpec,
        ProbeSpec,
        LogSpec,
        ControlSpec,
        ShutdownSpec,
        Plan,
    )
}


def pack(value: Any) -> Any:
    """Specs as plain values that `marshal` carries from the loader's process."""
    if isinstance(value, Record):
        return {"": type(value).__name__, **{k: pack(v) for k, v in value.as_dict().items()}}
    if isinstance(value, tuple):
        return tuple(pack(item) for item in value)
    return value


def unpack(value: Any) -> Any:
    """The inverse of `pack`. Raises KeyError or TypeError for anything else."""
    if isinstance(value, dict):
        named = {k: unpack(v) for k, v in value.items() if k}
        return _NAMES[value[""]](**named)
    if isinstance(value, tuple):
        return tuple(unpack(item) for item in value)
    return value
