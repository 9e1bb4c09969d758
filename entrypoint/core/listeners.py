"""Sockets that the file no longer declares, and sockets of stopped apps.

A socket that the file no longer declares is closed when no worker needs it: after a reload or a
restart, or before a worker starts that binds its address itself. After an aborted reload the old
workers keep their sockets, and use them again after a crash.

An app that a user stops, or scales to 0, refuses connections until it is started again.
"""

from __future__ import annotations

from . import worker as w
from .effects import (
    PausePort,
    RefuseConnections,
    ResumePort,
    TrimPort,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec
    from .transaction import Transaction
    from .worker import AppState


def once_unneeded(tx: Transaction, app_state: AppState) -> None:
    """Close them if no worker of an earlier revision remains or will be started again."""
    if not app_state.untrimmed or app_state.reload is not None:
        return
    lasting = (w.RUNNING, w.WAITING_RESTART)
    needed = [each.spec for each in tx.workers(app_state.name) if not each.killed]
    needed += [
        instance.spec for instance in tx.instances(app_state.name) if instance.state in lasting
    ]
    if all(_bound(spec) == _bound(app_state.spec) for spec in needed):
        _trim(tx, app_state)


def before_launch(tx: Transaction, app_state: AppState, spec: AppSpec) -> None:
    """Free an address that a worker without a shared port will bind itself.

    A worker that restarts after a crash during a change to a shared port has to wait:
    workers of a still earlier revision may run.
    """
    if app_state.untrimmed and spec.share == "none" == app_state.spec.share:
        _trim(tx, app_state)


# -- a stop by a person -------------------------------------------------------------------


def refuse(tx: Transaction, app_state: AppState) -> AppState:
    """Refuse new connections of an app that is being stopped; its workers empty their queues."""
    if (
        app_state.spec.share == "none"
        or not (app_state.created or app_state.live)
        or app_state.port
    ):
        return app_state
    tx.emit(RefuseConnections(app_state.name))
    return tx.put_app(app_state.replace(port="refusing"))


def pause(tx: Transaction, app_state: AppState) -> None:
    """Refuse clients instead of letting them wait, once the last worker is gone."""
    if app_state.port == "refusing" and not app_state.live and _is_stopped(app_state):
        tx.emit(PausePort(app_state.name))
        tx.put_app(app_state.replace(port="paused"))


def resume(tx: Transaction, app_state: AppState) -> None:
    """Take connections again: a worker is about to start."""
    if app_state.port:
        tx.put_app(app_state.replace(port=""))
        tx.emit(ResumePort(app_state.name))


def _is_stopped(app_state: AppState) -> bool:
    return app_state.mode == "stopped" or app_state.wanted == 0


def _trim(tx: Transaction, app_state: AppState) -> None:
    tx.put_app(app_state.replace(untrimmed=False))
    tx.emit(TrimPort(app_state.name))


def _bound(spec: AppSpec) -> tuple[object, ...]:
    """The fields that decide which sockets an app has."""
    return (spec.listen, spec.share, spec.exec_mode)
