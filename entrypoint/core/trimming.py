"""When sockets are closed that the file no longer declares: once nobody needs them.

Which may be the end of a reload, of a restart, or the beginning of a worker that binds its
address itself. After a reload that was aborted the old workers keep theirs, and a crash
brings them back.

An app that a person stops, or scales to 0, refuses connections until it is started again.
"""

from __future__ import annotations

from . import worker as w
from .effects import PausePort, RefuseConnections, ResumePort, TrimPort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec
    from .turn import Turn
    from .worker import Pool


def once_unneeded(turn: Turn, pool: Pool) -> None:
    """Close them if no worker of an earlier revision is left, nor will be started again."""
    if not pool.untrimmed or pool.reload is not None:
        return
    lasting = (w.RUNNING, w.WAITING_RESTART)
    needed = [each.spec for each in turn.workers(pool.name) if not each.killed]
    needed += [place.spec for place in turn.places(pool.name) if place.state in lasting]
    if all(_bound(spec) == _bound(pool.spec) for spec in needed):
        _trim(turn, pool)


def before_launch(turn: Turn, pool: Pool, spec: AppSpec) -> None:
    """A worker without a shared port finds its address in use while we hold it.

    One that a crash brings back in the middle of a change to a shared port has to wait: there
    may be workers of a still earlier file.
    """
    if pool.untrimmed and spec.share == "none" == pool.spec.share:
        _trim(turn, pool)


# -- a stop by a person -------------------------------------------------------------------


def refuse(turn: Turn, pool: Pool) -> Pool:
    """It is being stopped: its workers empty their queues, and nothing more comes in."""
    if pool.spec.share == "none" or not (pool.placed or pool.live) or pool.port:
        return pool
    turn.emit(RefuseConnections(pool.name))
    return turn.put_pool(pool.replace(port="refusing"))


def pause(turn: Turn, pool: Pool) -> None:
    """Once its last worker is gone: clients are refused instead of left waiting."""
    if pool.port == "refusing" and not pool.live and _is_stopped(pool):
        turn.emit(PausePort(pool.name))
        turn.put_pool(pool.replace(port="paused"))


def resume(turn: Turn, pool: Pool) -> None:
    """A worker is about to be started."""
    if pool.port:
        turn.put_pool(pool.replace(port=""))
        turn.emit(ResumePort(pool.name))


def _is_stopped(pool: Pool) -> bool:
    return pool.mode == "stopped" or pool.wanted == 0


def _trim(turn: Turn, pool: Pool) -> None:
    turn.put_pool(pool.replace(untrimmed=False))
    turn.emit(TrimPort(pool.name))


def _bound(spec: AppSpec) -> tuple[object, ...]:
    """What decides which sockets an app has."""
    return (spec.listen, spec.share, spec.exec_mode)
