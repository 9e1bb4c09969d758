"""Reports the state of the container to the service manager that started pyinit.

sd_notify(3): podman --sdnotify=container, a systemd unit with Type=notify, systemd-nspawn
--notify-ready. READY=1 when `/readyz` is first green, STOPPING=1 when the stop begins, RELOADING=1
and READY=1 around a reread of the file, STATUS= for people, WATCHDOG=1 if requested.
MAINPID is not sent: it would be the process that was started, and pids in a container
differ from the manager's. sd_listen_fds(3): its sockets are for `listen`.

No worker gets these variables, as it would speak for the whole container.
"""

from __future__ import annotations

import os

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from entrypoint.core.view import View

    from .runtime import Runtime

LISTEN_FDS_START = 3
_MOST_FDS = 1024
# The pause before a full queue is tried again (s).
AGAIN = 0.2
# The most messages that wait for that: the latest are kept.
_MOST_PENDING = 16


class Given(Record):
    """The settings in pyinit's environment. `watchdog` in seconds, 0: none."""

    notify: str = ""
    watchdog: float = 0.0
    fds: tuple[int, ...] = ()


def take(environ: MutableMapping[str, str]) -> Given:
    """Remove the variables from the environment. Descriptors become close-on-exec."""
    own = str(os.getpid())
    notify = environ.pop("NOTIFY_SOCKET", "")
    fds = _number(environ.pop("LISTEN_FDS", ""))
    fds_are_ours = environ.pop("LISTEN_PID", "") == own
    environ.pop("LISTEN_FDNAMES", None)
    interval = _number(environ.pop("WATCHDOG_USEC", ""))
    watchdog_is_ours = environ.pop("WATCHDOG_PID", own) == own
    given = range(LISTEN_FDS_START, LISTEN_FDS_START + fds) if fds_are_ours else ()
    return Given(
        notify if notify[:1] in ("/", "@") and len(notify) > 1 else "",
        interval / 1e6 if notify and watchdog_is_ours else 0.0,
        tuple(fd for fd in given if _kept(fd)),
    )


def _number(text: str) -> int:
    digits = text.isascii() and text.isdigit() and len(text) < 16
    return min(int(text), 10**15) if digits else 0


def _kept(fd: int) -> bool:
    if fd >= LISTEN_FDS_START + _MOST_FDS:
        return False
    try:
        os.set_inheritable(fd, False)
    except OSError:
        return False  # it announced more than it passed
    return True


class Outward:
    """Notifies the manager. `turned` is called after each turn of the core."""

    def __init__(self, runtime: Runtime, given: Given) -> None:
        self._runtime = runtime
        self._path = given.notify
        self._watchdog = given.watchdog
        self._said_ready = False
        self._said_stopping = False
        self._reloading = ""  # read: the file is being read; roll: its changes are being applied
        self._status = ""
        self._pending: list[bytes] = []
        self._refused = False
        if self._watchdog > 0:
            self._ping()

    def turned(self, event: e.Event, effects: Sequence[f.Effect]) -> None:
        """Check after a turn of the core whether there is news."""
        if any(isinstance(effect, f.ReadPlan) for effect in effects) and self._said_ready:
            self._reloading = "read"
            now = round(self._runtime.loop.now() * 1e6)
            self._say("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reading the file again")
        elif isinstance(event, (e.PlanAccepted, e.PlanRejected)) and self._reloading:
            self._reloading = "roll"
        self._look(self._runtime.core.view())

    def _look(self, view: View) -> None:
        if view.phase != "running":
            first = not self._said_stopping
            self._said_stopping = True
            self._tell(view, *(("STOPPING=1",) if first else ()))
            return
        from entrypoint.api.probes import passed

        if not self._said_ready:
            # Nothing before READY=1: simple receivers take the first message for it.
            self._said_ready = passed("readyz", view, self._runtime.plan.probes.ready_when)
            if self._said_ready:
                self._tell(view, "READY=1")
        elif self._reloading == "roll" and not any(app.reloading for app in view.apps):
            self._reloading = ""
            self._tell(view, "READY=1")
        elif not self._reloading:
            self._tell(view)

    def _tell(self, view: View, *state: str) -> None:
        """Send news, with a status for `systemctl status`."""
        apps = [app for app in view.apps if app.job is None or app.job.counts]
        if view.phase != "running":
            status = view.phase
        else:
            ready = sum(min(app.ready_workers, app.wanted) for app in apps)
            status = f"{ready} of {sum(app.wanted for app in apps)} workers ready"
            if view.config_error:
                status += f"; the file is wrong: {view.config_error}"
        status = " ".join(status.split())[:400]
        if state or status != self._status:
            self._status = status
            self._say(*state, f"STATUS={status}")

    def _ping(self) -> None:
        self._say("WATCHDOG=1")
        again = self._runtime.loop.now() + max(0.05, self._watchdog / 2)
        self._runtime.loop.call_at("outer watchdog", again, self._ping)

    def _say(self, *lines: str) -> None:
        self._pending.append("\n".join(lines).encode("utf-8", "replace"))
        del self._pending[:-_MOST_PENDING]
        self._send()

    def _send(self) -> None:
        from entrypoint.kernel.notify import send

        while self._pending:
            try:
                send(self._path, self._pending[0])
            except BlockingIOError:
                again = self._runtime.loop.now() + AGAIN
                self._runtime.loop.call_at("outer notify", again, self._send)
                return
            except OSError as error:
                if not self._refused:
                    self._refused = True
                    reason = f"NOTIFY_SOCKET {self._path}: {error.strerror or error}"
                    self._runtime.log("warning", "cannot notify", {"reason": reason})
            del self._pending[0]
