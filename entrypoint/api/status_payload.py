"""The answer to `pyinit ls` and `pyinit describe`: plain values, no environments."""

from __future__ import annotations

import os
import time

from entrypoint.kernel import proc
from entrypoint.logs.schema import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from entrypoint.core.spec import AppSpec, Plan
    from entrypoint.core.view import AppView, View, WorkerView
    from entrypoint.loop import Loop
    from entrypoint.shell.children import Children
    from entrypoint.shell.schedules import Schedules
    from entrypoint.sockets.effects import PortEffects

    class Runtime(Protocol):
        """What is used of the run."""

        children: Children
        loop: Loop
        plan: Plan
        ports: PortEffects
        schedules: Schedules


# Fields of the spec, by their names in the file, in the order in which they are shown.
SHOWN = (
    "exec_mode",
    "namespace",
    "autostart",
    "autorestart",
    "max_restarts",
    "min_uptime",
    "restart_delay",
    "exp_backoff_restart_delay",
    "stop_exit_codes",
    "max_memory_restart",
    "cron_restart",
    "overlap",
    "watch",
    "ignore_watch",
    "wait_ready",
    "listen_timeout",
    "on_listen_timeout",
    "kill_timeout",
    "treekill",
    "share",
    "handoff",
    "reload_parallel",
    "watchdog",
    "on_errored",
)


def everything(runtime: Runtime, view: View) -> dict[str, Any]:
    """All apps with their workers; the client reads memory and CPU."""
    return {
        "version": _version(),
        "pid": os.getpid(),
        "phase": view.phase,
        "revision": view.revision,
        "source": runtime.plan.source,
        "config_error": view.config_error,
        "apps": [_app(runtime, app) for app in view.apps],
    }


def in_detail(
    runtime: Runtime, view: View, app: AppView, instances: tuple[int, ...] = ()
) -> dict[str, Any]:
    """One app, or these instances of it, with its settings in the file."""
    payload = _app(runtime, app)
    if instances:
        payload["workers"] = [row for row in payload["workers"] if row["instance"] in instances]
    payload["revision"] = view.revision
    payload["source"] = runtime.plan.source
    payload["config_error"] = view.config_error
    payload["left_behind"] = _left_behind(runtime, app.name)
    spec = runtime.plan.app(app.name)
    if spec is not None:
        payload.update(_of_spec(spec))
    return payload


def _left_behind(runtime: Runtime, name: str) -> list[dict[str, Any]]:
    """Processes left by earlier workers, or detached by a worker: they live until the end.

    Their names, and no command lines, which may hold secrets.
    """
    return [
        {"pid": process.pid, "name": proc.name(process.pid) or "?", "incarnation": mark.incarnation}
        for process, mark in runtime.children.families.left_behind()
        if mark is not None and mark.app == name
    ]


def _version() -> str:
    from entrypoint import __version__

    return __version__


def _of_spec(spec: AppSpec) -> dict[str, Any]:
    return {
        "command": spec.command,
        "cwd": spec.cwd,
        "user": spec.uid,
        "group": spec.gid,
        "variables": len(spec.env),
        "depends_on": [f"{d.app} ({d.condition})" for d in spec.depends_on],
        **{name: getattr(spec, name) for name in SHOWN},
    }


def _app(runtime: Runtime, app: AppView) -> dict[str, Any]:
    spec = runtime.plan.app(app.name)
    return {
        "name": app.name,
        "mode": app.exec_mode,
        "namespace": spec.namespace if spec else "default",
        "wanted": app.wanted,
        "ready": app.ready_workers,
        "was_ready": app.was_ready,
        "reloading": app.reloading,
        "errored": app.errored,
        "finished": app.finished,
        "stopped": app.stopped,
        "job": _job(runtime, app),
        "listening": _listening(runtime, app.name, spec),
        "workers": [_worker(worker, runtime.loop.now()) for worker in app.workers],
    }


def _job(runtime: Runtime, app: AppView) -> dict[str, Any] | None:
    """An app with `cron_restart`: its last run, and when the next one begins."""
    job = app.job
    if job is None:
        return None
    due = runtime.schedules.next_run(app.name)
    began = time.time() - (runtime.loop.now() - job.started_at) if job.started_at else None
    return {
        "runs": job.runs,
        "running": job.running,
        "last_start": stamp(round(began * 1e9)) if began is not None else None,
        "last_duration": round(job.took, 3) if job.runs else None,
        "last_exit_code": job.exit_code if job.runs else None,
        "skipped": job.skipped,
        "pending": job.pending,
        "next_run": stamp(round(due * 1e9)) if due is not None and not app.stopped else None,
    }


def _listening(runtime: Runtime, name: str, spec: AppSpec | None) -> list[str]:
    """The declared addresses, and those its workers have bound since."""
    declared = [each.text for each in spec.listen] if spec else []
    ports = runtime.ports.get(name)
    bound = ports.addresses if ports is not None else ()
    return list(dict.fromkeys((*declared, *bound)))


def _worker(worker: WorkerView, now: float) -> dict[str, Any]:
    return {
        "id": worker.id if worker.id >= 0 else None,
        "instance": worker.instance,
        "incarnation": worker.incarnation,
        "slot": worker.slot,
        "pid": worker.pid,
        "status": worker.state,
        "ready": worker.ready,
        "restarts": worker.restarts,
        "uptime": round(max(0.0, now - worker.started_at), 3) if worker.pid else None,
        "stuck": worker.stuck,
        "said": worker.status,
        "reloading": worker.reloading,
        "health": worker.health,
        "health_reason": worker.health_reason,
        "last_exit": worker.last_exit,
    }
