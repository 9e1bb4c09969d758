"""Detects Node programs that listen without Node's protocol: native addons, child servers.

A script that node runs itself gets its port over the channel and no filter. Other sockets that it
opens are not seen then, and with several workers the second one finds the address in use. So at
each start, when `listen_timeout` is over, pyinit checks what the worker's processes listen on
(a few more times if it does not listen yet);
and when a worker has failed, what its siblings listen on. If a socket is not pyinit's, the app's
workers start with the filter from then on. They also do if an address is declared and workers
end before they listen there: a child process may have found it in use by pyinit.
"""

from __future__ import annotations

from entrypoint.kernel import look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.core.spec import AppSpec
    from entrypoint.kernel.sockdiag import Listener
    from entrypoint.loop import Loop

    from .app_sockets import Log
    from .listeners import Listeners

# Node's debugger: each worker has a port of its own from here up.
_DEBUGGER = range(9229, 9329)
_FAILURES = 2
# How often to check a worker that does not listen: for 63 times `listen_timeout`.
_LOOKS = 6
_LOOPBACK = ("127.0.0.1", "::1")


class OwnListeners:
    """Checks the workers of one app. `needed(unfit, reason)` is called at most once."""

    def __init__(
        self,
        loop: Loop,
        app: AppSpec,
        listeners: Listeners,
        pid_of: Callable[[int], int],
        log: Log,
        needed: Callable[[tuple[int, ...], str], None],
    ) -> None:
        self._loop = loop
        self._app = app
        self._listeners = listeners
        self._pid_of = pid_of
        self._log = log
        self._needed = needed
        self._watched: set[int] = set()
        self._over = False
        # Workers that have ended without having listened, in a row.
        self._failures = 0

    def watch(self, incarnation: int) -> None:
        """Schedule checks of this worker, which has just been started."""
        self._watched.add(incarnation)
        self._look_after(incarnation, self._app.listen_timeout, _LOOKS)

    def _look_after(self, incarnation: int, delay: float, looks: int) -> None:
        """Check, and again after twice the time if nothing listens yet."""

        def look() -> None:
            self._look(incarnation)
            if looks > 1 and not self._over and not self._serves(incarnation):
                self._look_after(incarnation, 2 * delay, looks - 1)

        key = ("own listeners", incarnation)
        self._loop.call_at(key, self._loop.now() + delay, look)

    def forget(self, incarnation: int) -> None:
        """Stop checking a worker that is being stopped or has ended."""
        self._watched.discard(incarnation)
        self._loop.cancel(("own listeners", incarnation))

    def ended(self, incarnation: int) -> None:
        """Handle the end of a worker; it ended by itself, unless it was forgotten before."""
        if incarnation not in self._watched or self._over:
            return
        self.forget(incarnation)
        self._failures = 0 if self._serves(incarnation) else self._failures + 1
        for sibling in sorted(self._watched):
            self._look(sibling)
        if self._app.listen and self._failures >= _FAILURES and not self._over:
            self._say("ended again before it listened", ())

    def _look(self, incarnation: int) -> None:
        pid = self._pid_of(incarnation)
        if self._over or not pid:
            return
        found = self._foreign(pid)
        if found:
            # Alone it serves; if there are others, they find its port in use.
            unfit = tuple(self._watched) if self._app.instances > 1 else ()
            self._say(f"listens on {found} without Node's cluster protocol", unfit)
        elif self._app.listen and self._has_children(pid) and not self._serves(incarnation):
            # A child process may have found the port in use by pyinit. It may also be slow.
            self._say("has children and does not listen", ())

    def _serves(self, incarnation: int) -> bool:
        return self._listeners.serves(incarnation)

    @staticmethod
    def _has_children(pid: int) -> bool:
        return len(look.tree(pid)) > 1

    def _foreign(self, pid: int) -> str:
        """An address on which its processes listen with a socket that is not pyinit's."""
        seen = look.listening(look.tree(pid))
        for listener in seen[0] if seen is not None else ():
            if listener.family == "unix" or self._listeners.of_inode(listener.inode) is not None:
                continue
            if not self._is_debugger(listener):
                return f"{listener.host}:{listener.port}"
        return ""

    def _is_debugger(self, listener: Listener) -> bool:
        if listener.port not in _DEBUGGER or listener.host not in _LOOPBACK:
            return False
        options = [value for name, value in self._app.env if name == "NODE_OPTIONS"]
        return any("--inspect" in word for word in (*self._app.command, *options))

    def _say(self, what: str, unfit: tuple[int, ...]) -> None:
        self._over = True
        for incarnation in tuple(self._watched):
            self.forget(incarnation)
        self._log(
            "info",
            "filter used from now on",
            {
                "app": self._app.name,
                "reason": f"a worker {what}",
                "then": "workers start with the filter, and with no_new_privs: sudo and file "
                "capabilities do not work in them (`handoff: node` keeps it off)",
            },
        )
        self._needed(unfit, "it needs the filter")
