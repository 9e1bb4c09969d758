"""Builds the request to start a worker: its command, environment and descriptors."""

from __future__ import annotations

import os

from entrypoint.kernel import (
    before,
    cgroup,
    oom,
    process,
    signals,
    tree,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from entrypoint.core.spec import AppSpec
    from entrypoint.sockets.ports import Ports

    from .children import Started

# The first number of `sd_listen_fds(3)`.
LISTEN_FDS_START = 3
_OTHERS = (
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NODE_CHANNEL_FD",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
)


def request_for(
    started: Started,
    ports: Ports | None,
    *,
    notify_path: str,
    filtered: bool,
    init: bool,
    memory: int = 0,
) -> tuple[process.SpawnRequest, Started]:
    """The request for this worker, and what will be observed of it (`Started.observed`).

    `filtered`: the kernel allows seccomp filters on workers. `init`: pyinit is the
    init of its PID namespace, whose end kills every process; elsewhere a worker
    gets a parent-death signal. `memory`: its share of the container, for `memory: auto`.
    """
    spec = started.spec
    env = _environment(started)
    if spec.memory == "auto":
        from . import memory_budget

        env |= memory_budget.words(spec, env, memory, cgroup.usable_cpus())
    env["NOTIFY_SOCKET"] = notify_path
    watched = spec.watchdog > 0
    if watched:
        env["WATCHDOG_USEC"] = str(round(spec.watchdog * 1e6))
    keep: list[tuple[int, int]] = []
    given = ports.descriptors(started.queue) if ports and spec.handoff in ("auto", "fds") else ()
    for number, (fd, _name) in enumerate(given, LISTEN_FDS_START):
        keep.append((fd, number))
    if given:
        env["LISTEN_FDS"] = str(len(given))
        env["LISTEN_FDNAMES"] = ":".join(name for _, name in given)
    listen_visible = False
    if ports is not None and ports.wants_node_channel():
        offer = ports.node_channel(started.incarnation, started.queue)
        keep.append((offer.child_fd, offer.child_fd))
        env.update(offer.env)
        listen_visible = offer.listen_visible
    words = _words(started, ports, str(LISTEN_FDS_START) if given else "")
    argv = spec.command
    if spec.placeholders:
        argv = tuple(_filled(word, words) for word in argv)
    _fill(env, spec, words)
    install_filter = filtered and ports is not None and ports.wants_filter()
    request = _as_its_user(spec, argv, env, init=init).replace(
        # As leader of its own session a worker cannot join another app's process group.
        new_session=True,
        oom_score_wish=_oom_score_adj(),
        limit_mark=tree.limit_mark(started.incarnation, spec.name),
        keep_fds=tuple(keep),
        own_pid=(*(("LISTEN_PID",) if given else ()), *(("WATCHDOG_PID",) if watched else ())),
        before=_commands(spec, spec.before_start, words),
        before_timeout=spec.before_start_timeout,
        install_filter=install_filter,
        filter_calls=ports.filter_calls(started.incarnation) if install_filter and ports else (),
    )
    return request, started.replace(listen_visible=listen_visible)


def check_request(started: Started, ports: Ports | None, *, init: bool) -> process.SpawnRequest:
    """The request for an `exec` check of this worker, which finds it by PYINIT_PID.

    The check has the worker's environment, user and folder, and none of its descriptors.
    """
    spec = started.spec
    health = spec.health
    env = _environment(started)
    env.pop("NOTIFY_SOCKET", None)
    words = _words(started, ports, "")
    _fill(env, spec, words)
    env["PYINIT_APP"] = spec.name
    env["PYINIT_INSTANCE"] = str(started.instance)
    env["PYINIT_PID"] = str(started.pid)
    argv = tuple(_filled(word, words) for word in (health.command if health else ()))
    return _as_its_user(spec, argv, env, init=init)


def after_request(started: Started, ports: Ports | None, *, init: bool) -> process.SpawnRequest:
    """The request for the `after_stop` commands of an ended worker: the last, and those before it.

    SERVICE_RESULT, EXIT_CODE and EXIT_STATUS are as in systemd.exec(5).
    """
    spec, status = started.spec, started.status
    env = before.environment(_environment(started))
    env.pop(tree.VARIABLE, None)  # a daemon that they start does not belong to the worker
    words = _words(started, ports, "")
    _fill(env, spec, words)
    env["PYINIT_APP"] = spec.name
    env["PYINIT_INSTANCE"] = str(started.instance)
    if os.WIFSIGNALED(status):
        dumped = os.WCOREDUMP(status)
        env["EXIT_CODE"] = "dumped" if dumped else "killed"
        env["EXIT_STATUS"] = signals.name_of(os.WTERMSIG(status)).removeprefix("SIG")
        env["SERVICE_RESULT"] = "core-dump" if dumped else "signal"
    else:
        code = os.WEXITSTATUS(status)
        env["EXIT_CODE"], env["EXIT_STATUS"] = "exited", str(code)
        env["SERVICE_RESULT"] = "exit-code" if code else "success"
    *first, last = _commands(spec, spec.after_stop, words)
    return _as_its_user(spec, last, env, init=init).replace(before=tuple(first))


def _commands(
    spec: AppSpec, commands: tuple[tuple[str, ...], ...], words: dict[str, str]
) -> tuple[tuple[str, ...], ...]:
    if not spec.placeholders:
        return commands
    return tuple(tuple(_filled(word, words) for word in argv) for argv in commands)


_oom: list[int | None] = []


def _oom_score_adj() -> int | None:
    """The value for workers if the file sets none; computed once."""
    if not _oom:
        _oom.append(oom.workers_adjustment(cgroup.memory_limit()))
    return _oom[0]


def _as_its_user(
    spec: AppSpec, argv: tuple[str, ...], env: dict[str, str], *, init: bool
) -> process.SpawnRequest:
    """A process in the folder of the app and as its user."""
    return process.SpawnRequest(
        argv=argv,
        env=env,
        cwd=spec.cwd,
        uid=spec.uid,
        gid=spec.gid,
        groups=spec.groups,
        rlimits=spec.rlimits,
        umask=spec.umask,
        nice=spec.nice,
        oom_score_adj=spec.oom_score_adj,
        parent_death_signal=0 if init else signals.SIGKILL,
    )


def _environment(started: Started) -> dict[str, str]:
    spec = started.spec
    env = dict(spec.env)
    if spec.pm2_env:
        from . import pm2_env

        env = {**pm2_env.for_worker(started), **env}
    env[spec.instance_var] = str(started.instance)
    env["PYINIT_SLOT"] = str(started.slot)
    if spec.tty:
        env.setdefault("TERM", "xterm-256color")
    if spec.increment_var:
        env[spec.increment_var] = _incremented(env.get(spec.increment_var, ""), started.instance)
    # Set by whatever started pyinit, and not meant for its workers.
    for name in _OTHERS:
        env.pop(name, None)
    env[tree.VARIABLE] = tree.mark(started.incarnation, spec.name)
    return env


def _words(started: Started, ports: Ports | None, fd: str) -> dict[str, str]:
    return {
        "{fd}": fd,
        "{port}": str(ports.first_port() or "") if ports else "",
        "{instance}": str(started.number),
        "{slot}": str(started.slot),
    }


def instance_number(started: Started, others: Iterable[Started], instances: int) -> int:
    """The value of `{instance}` for this worker; unique among the app's live workers.

    Programs use it for pid files, locks and data folders. So the new worker of a rolling
    reload gets the first free number after those of the instances while the old worker is
    alive. The next reload returns to the usual number.
    """
    if not _uses_instance(started.spec):
        return started.instance
    taken = {other.number for other in others}
    number = started.instance
    if number in taken:
        number = max(instances, number + 1)
    while number in taken:
        number += 1
    return number


def _uses_instance(spec: AppSpec) -> bool:
    if spec.placeholders and any("{instance}" in word for word in spec.command):
        return True
    if not spec.filled_env:
        return False
    env = dict(spec.env)
    return any("{instance}" in env[name] for name in spec.filled_env)


def _fill(env: dict[str, str], spec: AppSpec, words: dict[str, str]) -> None:
    for name in spec.filled_env:
        env[name] = _filled(env[name], words)


def _filled(text: str, words: dict[str, str]) -> str:
    if "{" not in text:
        return text
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _incremented(value: str, instance: int) -> str:
    """PM2's `increment_var`: the value grows by one with each instance, from 0 if it is unset."""
    try:
        return str(int(value or "0") + instance)
    except ValueError:
        return value
