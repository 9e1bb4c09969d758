"""Sockets that the file no longer declares, and those of stopped apps.

A socket that the file no longer declares is closed when no worker needs it: at the end of a reload
or a restart, or when a worker starts that binds its address itself. After an aborted reload the old
workers keep their sockets, and get them back after a crash.

An app that a person stops, or scales to 0, refuses connections until it is started again.
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
    """Close them if no worker of an earlier revision is left, nor will be started again."""
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
    """A worker without a shared port finds its address in use while we hold it.

    One that a crash brings back in the middle of a change to a shared port has to wait: there
    may be workers of a still earlier file.
    """
    if app_state.untrimmed and spec.share == "none" == app_state.spec.share:
        _trim(tx, app_state)


# -- a stop by a person -------------------------------------------------------------------


def refuse(tx: Transaction, app_state: AppState) -> AppState:
    """It is being stopped: its workers empty their queues, and nothing more comes in."""
    if (
        app_state.spec.share == "none"
        or not (app_state.created or app_state.live)
        or app_state.port
    ):
        return app_state
    tx.emit(RefuseConnections(app_state.name))
    return tx.put_app(app_state.replace(port="refusing"))


def pause(tx: Transaction, app_state: AppState) -> None:
    """Once its last worker is gone: clients are refused instead of left waiting."""
    if app_state.port == "refusing" and not app_state.live and _is_stopped(app_state):
        tx.emit(PausePort(app_state.name))
        tx.put_app(app_state.replace(port="paused"))


def resume(tx: Transaction, app_state: AppState) -> None:
    """A worker is about to be started."""
    if app_state.port:
        tx.put_app(app_state.replace(port=""))
        tx.emit(ResumePort(app_state.name))


def _is_stopped(app_state: AppState) -> bool:
    return app_state.mode == "stopped" or app_state.wanted == 0


def _trim(tx: Transaction, app_state: AppState) -> None:
    tx.put_app(app_state.replace(untrimmed=False))
    tx.emit(TrimPort(app_state.name))


def _bound(spec: AppSpec) -> tuple[object, ...]:
    """What decides which sockets an app has."""
    return (spec.listen, spec.share, spec.exec_mode)
