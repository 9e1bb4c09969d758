"""The port of one app: pyinit binds, workers accept.

`Ports` is the interface for the rest of pyinit. A slot's socket reaches a worker in one of three
ways, and `handoff: auto` offers all that apply:

1. *Descriptors* (`LISTEN_FDS`), for programs that take them.
2. *Interception* (intercept.py), for any program.
3. *Node's cluster protocol* (node_channel.py), for a Node program in cluster mode.

They do not interfere: a Node cluster worker asks over its channel and never calls bind, its
children (`npm start`, `npx`) have no channel and call bind, and a program that takes its
descriptors does not bind either. All get the same socket.
"""

from __future__ import annotations

from entrypoint.core.record import Record

from .addresses import PortErrors
from .listeners import Listeners
from .own_connects import OwnConnects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from entrypoint.core.spec import AppSpec
    from entrypoint.kernel.sockets import Depth
    from entrypoint.loop import Loop

    from .address import Address
    from .addresses import Form
    from .group import Group
    from .intercept import Interception
    from .node_channel import NodeChannel, Shared
    from .own_listeners import OwnListeners
    from .pending_calls import Pending
    from .setoptions import SetOptions

    Log = Callable[[str, str, dict[str, object]], None]
    # (incarnation, "bound" | "listening" | "closed" | "ready" | "online" |
    # "disconnected" | "message", fields)
    Observed = Callable[[int, str, dict[str, object]], None]

__all__ = ["NodeOffer", "PortErrors", "Ports"]


class NodeOffer(Record):
    """A channel for a starting worker: inherit `child_fd` at its own number, add `env`.

    `observed`: its listening will be reported, with or without a filter.
    """

    child_fd: int
    env: dict[str, str]
    listen_visible: bool = False


class Ports:
    """The listening sockets of `app`, and how its workers get them.

    `log(level, event, fields)`; `observed(incarnation, what, fields)` reports what a worker
    did: `bound` and `listening` (with `address`), `ready` (`process.send('ready')`),
    `online`, `message`, `disconnected`. `listening` may come more than once. `accepting`
    (with `address`): it was seen to accept a connection. `closed` (with `address` and
    `declared`): a worker that keeps running has closed what it listened on. `unfit` (with
    `reason`): it must be started again, which then uses another method.
    `heir_of(form)`: an address of an app that is being removed, transferred to this one.
    `pending`: the calls that could not be answered yet, one queue for all apps.
    `pid_of(incarnation)`: the process of a worker, 0 when unknown.
    """

    def __init__(
        self,
        loop: Loop,
        app: AppSpec,
        log: Log,
        listen_visible: Observed,
        pending: Pending,
        heir_of: Callable[[Form], Address | None] = lambda _form: None,
        pid_of: Callable[[int], int] = lambda _incarnation: 0,
    ) -> None:
        self._loop = loop
        self._pending = pending
        self._app = app
        self._log = log
        self._observed = listen_visible
        self._pid_of = pid_of
        self._listeners = Listeners(loop, app, log, heir_of, pid_of, listen_visible)
        self._interception: Interception | None = None
        self._channels: dict[int, NodeChannel] = {}
        self._shared: Shared | None = None
        self._filter: bool | None = None
        # Workers whose filter reports socket(2).
        self._makers: set[int] = set()
        # Node programs of this app were seen to listen without Node's protocol.
        self._needs_filter = False
        # A worker may have connected to the app's unix path, unreported, before it bound it.
        self._asks_first = False
        self._own_listeners: OwnListeners | None = None
        self._own_connects = OwnConnects(self._listeners)
        self._options: SetOptions | None = None

    # -- the sockets ------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """The number of slots."""
        return self._listeners.slots

    @property
    def addresses(self) -> tuple[str, ...]:
        """The listening addresses, declared or bound by a worker: `0.0.0.0:80`, `unix:/a`."""
        return self._listeners.texts

    def open(self, slots: int, but: Collection[Form] = ()) -> None:
        """Bind and listen on what the file declares. Raises PortErrors with nothing open.

        `but`: addresses that another app will hand over (`receive`).
        """
        if self._app.listen and slots > 1 and self._app.share != "one":
            from entrypoint.kernel import seccomp

            seccomp.preload()  # steering needs it now: children then need not import it
        self._listeners.open(slots, but)

    def check(self, app: AppSpec, but: Collection[Form] = ()) -> None:
        """Bind what another revision newly declares. Raises PortErrors with nothing changed.

        `but`: addresses that another app will hand over (`receive`).
        """
        self._listeners.prepare(app, but)

    def discard(self) -> None:
        """Release what `check` bound for a revision that was rejected."""
        self._listeners.discard()

    @property
    def declared_forms(self) -> frozenset[Form]:
        """The addresses that this file, or an earlier one, declares."""
        return self._listeners.declared_forms

    def give(self, form: Form) -> Address | None:
        """Hand this address over to another app; None: it is not here."""
        return self._listeners.give(form)

    def receive(self, address: Address) -> None:
        """Take over another app's address; `update` follows."""
        self._listeners.receive(address)

    def update(self, app: AppSpec) -> None:
        """Apply that revision; `trim` follows when its reload is done."""
        self._app = app
        self._listeners.change(app)
        if self._interception is not None:
            self._interception.change(app)

    def trim(self) -> None:
        """Close undeclared addresses: no worker of an earlier revision remains."""
        self._listeners.trim()

    def grow(self, slots: int) -> None:
        """Make sure that there are at least `slots` slots. Raises OSError."""
        self._listeners.grow(slots)

    def steer(self, slots: tuple[int, ...]) -> None:
        """Route new connections to these slots only; () means all."""
        self._listeners.steer(slots)

    def group_at(self, address: str, incarnation: int, *, declared: bool) -> Group | None:
        """The listening sockets of this address (of the file, or bound by a worker).

        Those that the worker has, if it has any.
        """
        return self._listeners.group_at(address, incarnation, declared=declared)

    def declared_as(self, address: str) -> str:
        """The address of the file that this bound one is; "" for none."""
        return self._listeners.declared_as(address)

    def occupy(self, slot: int) -> None:
        """Mark this slot as used: a worker that will accept on it is being started."""
        self._listeners.unowned.occupy(slot)

    def vacate(self, slot: int) -> None:
        """Mark this slot as unused: late connections are relayed to the others."""
        self._listeners.unowned.vacate(slot)

    def queue_length(self, slot: int) -> int:
        """Connections that wait for this slot and that no other could accept."""
        return self._listeners.queue_length(slot)

    def depths(self) -> dict[str, tuple[Depth, ...]]:
        """The accept queues behind each address, for the metrics."""
        return self._listeners.depths()

    def refuse(self) -> None:
        """Take no new connections; those already queued are still accepted."""
        self._listeners.refuse()

    def relay_queue(self, slot: int, *, stalled: bool = False) -> None:
        """Relay the connections on a slot whose worker has crashed or is stalled."""
        self._listeners.unowned.relay(slot, everybody=self._app.relay, stalled=stalled)

    def pause(self) -> None:
        """Refuse connections, keep the addresses. No worker accepts any more."""
        self._listeners.pause()

    def resume(self) -> None:
        """Take connections again, after `refuse` or `pause`. Raises OSError."""
        self._listeners.resume()

    def close(self) -> None:
        """Close everything at the end of the app: new connections are refused."""
        if self._interception is not None:
            self._interception.close()
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
        if self._shared is not None:
            self._shared.close()
        self._listeners.close()

    @property
    def listeners(self) -> Listeners:
        """The app's addresses and their holders, for inspection."""
        return self._listeners

    def accepted_by(self, incarnation: int, port: int = 0) -> Group | None:
        """The sockets on which this worker accepts: of its first address, or of `port`."""
        return self._listeners.accepted_by(incarnation, port)

    # -- descriptors ------------------------------------------------------------------

    def descriptors(self, slot: int) -> tuple[tuple[int, str], ...]:
        """(descriptor, name) of each declared address for this slot; () if not offered."""
        if self._app.handoff not in ("auto", "fds") or self._app.share == "none":
            return ()
        return self._listeners.descriptors(slot)

    def unix_names(self, incarnation: int) -> tuple[str, ...]:
        """The unix sockets on which this worker accepts, as the kernel names them."""
        return self._listeners.unix_names(incarnation)

    def first_port(self) -> int:
        """The app's first TCP port; 0 for none."""
        return self._listeners.first_port()

    # -- interception -----------------------------------------------------------------

    def wants_filter(self) -> bool:
        """Whether workers install the filter; reports once if that is impossible."""
        app = self._app
        if app.handoff not in ("auto", "intercept"):
            return False
        if app.exec_mode != "cluster" and not app.listen:
            return False
        if self._by_protocol() and not self._needs_filter:
            return False
        return self._filter_works()

    def _by_protocol(self) -> bool:
        """Whether Node runs the script itself, which then gets its port by Node's own protocol.

        A filter requires no_new_privs: sudo, ping and file capabilities do not work under it.
        """
        from .node_protocol import is_launcher

        app = self._app
        if any(spec.family == "unix" for spec in app.listen) or self._listeners.unix_groups():
            return False  # its workers remove the path, which only the filter reports
        primary = app.node and app.handoff == "auto" and app.exec_mode == "cluster"
        return primary and not is_launcher(app.command)

    def _filter_works(self) -> bool:
        app = self._app
        if self._filter is None:
            from entrypoint.kernel import seccomp

            self._filter = seccomp.filter_supported()
            if self._filter:
                seccomp.preload()
            else:
                self._log(
                    "warning",
                    "interception unsupported",
                    {
                        "app": app.name,
                        "reason": "the kernel or runtime has no seccomp user notification",
                        "then": "a port reaches workers by descriptors or Node's protocol only; "
                        "of others that bind the same port, the second finds it in use",
                    },
                )
        return self._filter

    def attach_filter(self, incarnation: int, slot: int, notify_fd: int) -> None:
        """Answer the calls of a worker under the filter. Takes ownership of `notify_fd`."""
        if self._interception is None:
            from .intercept import Interception

            self._interception = Interception(
                self._loop,
                self._app,
                self._listeners,
                self._log,
                self._observed,
                self._pending,
                self._pid_of,
                self._own_connects,
                self._set_options(),
            )
        makes = incarnation in self._makers
        self._interception.attach(incarnation, slot, notify_fd, makes=makes)

    def has_filter(self, incarnation: int) -> bool:
        """Whether this worker's calls are reported."""
        return self._interception is not None and self._interception.attends(incarnation)

    def filter_calls(self, incarnation: int) -> tuple[str, ...]:
        """The system calls that the filter of this worker has to report."""
        from .intercept import filter_calls

        makes = self._interception is not None and self._interception.makes_sockets
        if makes:
            self._makers.add(incarnation)
        return filter_calls(
            self._app,
            connects=self._own_connects.report(incarnation) or self._asks_first,
            has_paths=bool(self._listeners.unix_groups()),
            makes=makes,
            options=self._set_options().report(incarnation, len(self._app.listen)),
        )

    def _set_options(self) -> SetOptions:
        if self._options is None:
            from .setoptions import SetOptions

            self._options = SetOptions(self._app.name, self._log)
        return self._options

    # -- Node -------------------------------------------------------------------------

    def wants_node_channel(self) -> bool:
        """Whether a worker gets a channel as a Node child process has."""
        from .node_protocol import is_launcher

        app = self._app
        if not app.node or is_launcher(app.command):
            return False
        if app.handoff == "none":
            return app.ipc
        return self._is_primary() or app.ipc or app.wait_ready or app.shutdown_with_message

    def _is_primary(self) -> bool:
        """Whether Node's cluster protocol is offered."""
        if self._app.handoff == "node":
            return self._app.node
        if self._app.handoff != "auto":
            return False
        # In fork mode a program keeps its own cluster, unless there is no other way to
        # give it the port that pyinit holds.
        return self._app.exec_mode == "cluster" or (
            bool(self._app.listen) and not self._filter_works()
        )

    def node_channel(self, incarnation: int, slot: int) -> NodeOffer:
        """A channel for this worker, which starts next. Raises OSError (EMFILE)."""
        from .node_channel import NodeChannel, Shared

        if self._shared is None:
            self._shared = Shared()
        primary = self._is_primary()
        channel = NodeChannel(
            self._loop,
            self._app,
            self._listeners,
            self._shared,
            self._observed,
            incarnation=incarnation,
            slot=slot,
            primary=primary,
        )
        self._channels[incarnation] = channel
        return NodeOffer(channel.child_fd, channel.env, listen_visible=primary)

    def node_started(self, incarnation: int, pid: int) -> None:
        """Close the child's end: the worker was forked."""
        channel = self._channels.get(incarnation)
        if channel is not None:
            channel.started(pid)
            if self._by_protocol() and not self._needs_filter:
                self._watch_own_listeners(incarnation)

    def _watch_own_listeners(self, incarnation: int) -> None:
        if self._own_listeners is None:
            from .own_listeners import OwnListeners

            self._own_listeners = OwnListeners(
                self._loop,
                self._app,
                self._listeners,
                self._pid_of,
                self._log,
                self._filter_needed,
            )
        self._own_listeners.watch(incarnation)

    def _filter_needed(self, unfit: tuple[int, ...], reason: str) -> None:
        """Use the filter from the next start on, and restart these workers now."""
        self._needs_filter = True
        self._own_listeners = None
        for incarnation in unfit:
            self._observed(incarnation, "unfit", {"reason": reason})

    def send_message(self, incarnation: int, message: Any) -> None:
        """Send a message for `process.on('message')`; a no-op without a channel."""
        channel = self._channels.get(incarnation)
        if channel is not None:
            channel.send(message)

    def leaving(self, incarnation: int) -> None:
        """Handle the stop signal of a worker (`NodeChannel.leaving`)."""
        self._listeners.claims.leaving(incarnation)
        self._own_connects.leaving(incarnation)
        if self._own_listeners is not None:
            self._own_listeners.forget(incarnation)
        channel = self._channels.get(incarnation)
        if channel is not None:
            channel.leaving()

    # -- the end of a worker ----------------------------------------------------------

    def forget(self, incarnation: int) -> None:
        """Forget a worker that is gone. Its sockets stay, with their queues."""
        channel = self._channels.pop(incarnation, None)
        if channel is not None:
            channel.close()
        self._makers.discard(incarnation)
        self._asks_first = self._asks_first or self._listeners.unseen_before_bind(incarnation)
        self._own_connects.ended(incarnation)
        if self._own_listeners is not None:
            self._own_listeners.ended(incarnation)
        if self._interception is not None:
            self._interception.forget(incarnation)
        self._listeners.release(incarnation)
