"""Performs the core's effects on the apps' ports, which are kept here by app name.

An effect for an app whose port is already closed is ignored: the app is gone.
"""

from __future__ import annotations

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.record import Record

from .accept_probe import AcceptProbe, target_of
from .accepters import Accepters
from .drain import Emptying
from .listener_registry import moves
from .pending_calls import Pending
from .ports import PortErrors, Ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Any

    from entrypoint.core.spec import AppSpec
    from entrypoint.loop import Loop
    from entrypoint.shell.children import Children, Started

    from .accept_probe import Target
    from .address import Address
    from .addresses import Form
    from .departure import Departure
    from .in_hand import InHand
    from .ports import Log, Observed

# Interval of checks whether a worker that left a shared queue still has it (s).
_LEAST_PAUSE, _MOST_PAUSE = 0.02, 0.25


class Prepared(Record):
    """The ports of a plan that is not in force yet.

    `fresh`: ports of new apps; `moving`: app → address → the app that has it now;
    `problems`: what could not be bound, as sentences.
    """

    fresh: dict[str, Ports]
    moving: dict[str, dict[Form, str]]
    problems: tuple[str, ...]


class PortEffects:
    """The ports of all apps of a run."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        emit: Callable[[e.Event], None],
        log: Log,
        listen_visible: Observed,
    ) -> None:
        self._loop = loop
        self._children = children
        self._emit = emit
        self._log = log
        self._observed = listen_visible
        self._ports: dict[str, Ports] = {}
        self._probes: dict[tuple[int, str], AcceptProbe] = {}
        self._accepters = Accepters(children)
        self._pending = Pending(loop, children.adopt_helper)
        # Apps whose workers' requests in hand cannot be observed.
        self._blind: set[str] = set()
        # Apps in the file.
        self._names: frozenset[str] = frozenset()

    def get(self, app: str) -> Ports | None:
        """The port of an app; None if there is no such app, or no longer."""
        return self._ports.get(app)

    def __getitem__(self, app: str) -> Ports:
        """The port of an app. Raises KeyError."""
        return self._ports[app]

    def __iter__(self) -> Iterator[Ports]:
        return iter(self._ports.values())

    # -- another plan -----------------------------------------------------------------

    def open(self, specs: tuple[AppSpec, ...]) -> tuple[str, ...]:
        """Bind all that these apps declare; returns what could not be bound, as sentences."""
        problems: list[str] = []
        self._names = frozenset(spec.name for spec in specs)
        for spec in specs:
            try:
                self._ports[spec.name] = self._opened(spec)
            except PortErrors as error:
                problems += error.problems
        return tuple(problems)

    def _opened(self, spec: AppSpec, but: Collection[Form] = ()) -> Ports:
        ports = Ports(
            self._loop,
            spec,
            self._log,
            self._saw,
            self._pending,
            self._heir_of,
            self._children.pid_of,
        )
        # Before anything listens: the first connections must not go to a spare slot.
        ports.steer(tuple(range(spec.instances)))
        ports.open(spec.instances + spec.surge, but)
        return ports

    def _saw(self, incarnation: int, what: str, fields: dict[str, object]) -> None:
        """Pass on observations of a worker; an emptied queue only if the worker emptied it."""
        if what == "stalled":
            self._emit_stalled(fields)
            return
        if what == "accepting":
            started = self._children.get(incarnation)
            ports = self.get(started.spec.name) if started is not None else None
            if started is None or ports is None:
                return
            group = ports.group_at(str(fields["address"]), incarnation, declared=False)
            inodes = group.inodes if group is not None else ()
            if self._accepters.others_hold(started, inodes) is not False:
                return  # its probe finds out
        self._observed(incarnation, what, fields)

    def _emit_stalled(self, fields: dict[str, Any]) -> None:
        ports = self.get(fields["app"])
        if ports is not None:
            declared = ports.listeners.declared_as(fields["address"])
            self._emit(e.AcceptStalled(declared=declared, **fields))

    def _heir_of(self, form: Form) -> Address | None:
        """An address for an app to take over from one that the file no longer has."""
        for name, ports in self._ports.items():
            if name not in self._names:
                address = ports.give(form)
                if address is not None:
                    return address
        return None

    def prepare(self, specs: tuple[AppSpec, ...]) -> Prepared:
        """Bind what is new in these apps. Not in force until `accept`; `discard` releases it."""
        fresh: dict[str, Ports] = {}
        problems: list[str] = []
        moving = moves({name: ports.declared_forms for name, ports in self._ports.items()}, specs)
        for spec in specs:
            existing = self._ports.get(spec.name)
            but = moving.get(spec.name, {})
            try:
                if existing is not None:
                    existing.check(spec, but)
                else:
                    fresh[spec.name] = self._opened(spec, but)
            except PortErrors as error:
                problems += error.problems
        return Prepared(fresh, moving, tuple(problems))

    def accept(self, specs: tuple[AppSpec, ...], prepared: Prepared) -> None:
        """Put these apps in force, with what `prepare` has bound for them."""
        self._names = frozenset(spec.name for spec in specs)
        self._ports.update(prepared.fresh)
        self._move(prepared.moving)
        for spec in specs:
            self._ports[spec.name].update(spec)

    def _move(self, moving: dict[str, dict[Form, str]]) -> None:
        """Hand addresses over; all are given before one is taken, as two apps may swap theirs."""
        given = [
            (app, self._ports[giver].give(form))
            for app, forms in moving.items()
            for form, giver in forms.items()
        ]
        for app, address in given:
            if address is not None:
                self._ports[app].receive(address)

    def discard(self, prepared: Prepared) -> None:
        """Release what `prepare` has bound."""
        for ports in prepared.fresh.values():
            ports.close()
        for ports in self:
            ports.discard()

    def close(self) -> None:
        """Close all ports: nothing was started."""
        for ports in self:
            ports.close()
        self._ports.clear()

    # -- effects ----------------------------------------------------------------------

    def grow(self, effect: f.GrowPort) -> None:
        """Perform it. Raises OSError."""
        if ports := self.get(effect.app):
            ports.grow(effect.slots)

    def steer(self, effect: f.RouteTo) -> None:
        """Perform it."""
        if ports := self.get(effect.app):
            ports.steer(effect.slots)

    def trim(self, effect: f.TrimPort) -> None:
        """Perform it."""
        if ports := self.get(effect.app):
            ports.trim()

    def free_slot(self, effect: f.ReleaseSlot) -> None:
        """Perform it."""
        if ports := self.get(effect.app):
            ports.vacate(effect.slot)

    def refuse_connections(self, effect: f.RefuseConnections) -> None:
        """Perform it."""
        if ports := self.get(effect.app):
            ports.refuse()

    def relay_queue(self, effect: f.RelayQueue) -> None:
        """Perform it."""
        if ports := self.get(effect.app):
            ports.relay_queue(effect.slot, stalled=effect.stalled)

    def pause(self, effect: f.PausePort) -> None:
        """Perform it."""
        if ports := self.get(effect.app):
            ports.pause()

    def resume(self, effect: f.ResumePort) -> None:
        """Perform it. Raises OSError."""
        if ports := self.get(effect.app):
            ports.resume()

    def close_port(self, effect: f.ClosePort) -> None:
        """Perform it."""
        if ports := self._ports.pop(effect.app, None):
            ports.close()

    def watch_queue(self, effect: f.WatchQueue) -> None:
        """Perform it. The queue of an app without a port counts as empty."""
        ports = self.get(effect.app)
        started = self._children.get(effect.incarnation)
        in_hand: InHand | None = None
        addresses: tuple[tuple[int, int], ...] = ()
        if started is None:
            effect = effect.replace(answer_time=0.0, quiet_time=0.0)
        elif ports is not None and effect.quiet_time > 0 and effect.app not in self._blind:
            from .in_hand import InHand, ports_of

            addresses = ports_of(ports.listeners.tcp_groups())
            if addresses:
                in_hand = InHand(addresses, started.pid, effect.longest, closed=effect.closed)
        pid = started.pid if started is not None else 0

        def emptying(*, queued: bool = True, looks: InHand | None = in_hand) -> Emptying:
            return Emptying(
                self._loop.now,
                lambda: ports.queue_length(effect.slot) if ports is not None and queued else 0,
                pid,
                effect,
                looks,
                lambda reason: self._cannot_tell(effect.app, reason),
            )

        key = ("queue", effect.incarnation)
        if not effect.shared or ports is None or started is None:
            self._look(key, effect.incarnation, emptying())
            return
        from .departure import Departure

        listeners = ports.listeners

        def attempt(queued: bool) -> Emptying:
            from .in_hand import InHand

            # Its own check, because its first run records which handshakes have begun by then.
            fresh = InHand(addresses, pid, effect.longest) if in_hand is not None else None
            return emptying(queued=queued, looks=fresh)

        departure = Departure(
            self._loop.now,
            lambda: listeners.keep_away(effect.incarnation, effect.slot),
            lambda: listeners.let_in(effect.incarnation),
            attempt,
            in_hand,
        )
        self._look(key, effect.incarnation, departure)
        self._await_departure(effect, _LEAST_PAUSE)

    def _await_departure(self, effect: f.WatchQueue, pause: float) -> None:
        """Let connections in again once the worker has ended or has closed its socket."""
        ports, started = self.get(effect.app), self._children.get(effect.incarnation)
        if ports is None:
            return
        if started is None or started.reaped or not self._holds(ports, started):
            ports.listeners.let_in(effect.incarnation)
        if started is None or started.reaped:
            return
        later = min(_MOST_PAUSE, 1.5 * pause)
        self._loop.call_at(
            ("departure", effect.incarnation),
            self._loop.now() + pause,
            lambda: self._await_departure(effect, later),
        )

    @staticmethod
    def _holds(ports: Ports, started: Started) -> bool:
        """Whether it may still accept: it has one of the sockets of its queue."""
        from entrypoint.kernel import look

        groups = ports.listeners.tcp_groups()
        inodes = [inode for group in groups for inode in group.inodes_of(started.queue)]
        seen = look.sockets(look.tree(started.pid), inodes)
        return bool(seen.holders) or seen.unknown

    def _cannot_tell(self, app: str, reason: str) -> None:
        if app not in self._blind:
            self._blind.add(app)
            then = "a worker that leaves has retire_delay to answer"
            fields: dict[str, object] = {"app": app, "reason": reason, "then": then}
            self._log("warning", "requests in hand not seen", fields)

    def _at_rest(self, key: tuple[str, int], incarnation: int) -> None:
        """Report an empty queue; for a shared unix socket, at a moment when the worker is idle."""
        started = self._children.get(incarnation)
        ports = self.get(started.spec.name) if started is not None else None
        paths = ports.unix_names(incarnation) if ports is not None and key[0] == "queue" else ()

        def emptied() -> None:
            self._emit(e.QueueEmptied(incarnation))

        if started is None or started.reaped or not paths:
            emptied()
            return
        from .idle import Idle

        families = self._children.families
        Idle(
            self._loop,
            key,
            started.pid,
            paths,
            emptied,
            lambda: families.is_sending(incarnation),
        )

    def chosen(self, started: Started, inode: int) -> bool | None:
        """Whether the kernel chose that listener's port; None: the worker's bind was not reported.

        A bind to an explicit port is answered with a socket of the app, if it was reported.
        """
        ports = self.get(started.spec.name)
        if ports is None:
            return None
        assignment = ports.listeners.of_inode(inode)
        if assignment is not None:
            return assignment.address.chosen
        sees = started.spec.exec_mode == "cluster" and ports.has_filter(started.incarnation)
        return True if sees else None

    def probe_accept(self, effect: f.ProbeAccept) -> None:
        """Perform it."""
        incarnation, key = effect.incarnation, (effect.incarnation, effect.address)
        if key in self._probes:
            self._probes.pop(key).close()

        def find() -> Target:
            ports = self.get(effect.app)
            declared = bool(effect.declared)
            group = None
            if ports is not None:
                group = ports.group_at(effect.address, incarnation, declared=declared)
            return target_of(effect.address, group, ports.listeners.tcp_groups() if ports else ())

        def worker() -> Started | None:
            started = self._children.get(incarnation)
            return None if started is None or started.reaped else started

        def alone() -> bool:
            crew = self._children.of_app(effect.app)
            return all(each.incarnation == incarnation for each in crew)

        def accepted(known: bool) -> None:
            self._probes.pop(key, None)
            ports = self.get(effect.app)
            at = effect.address, incarnation
            group = ports.group_at(*at, declared=bool(effect.declared)) if ports else None
            if group is not None:
                group.in_use = True
            self._emit(e.AcceptSeen(incarnation, effect.address, effect.declared, not known))

        for ended in [each for each, known in self._probes.items() if known.over]:
            del self._probes[ended]
        probe = AcceptProbe(
            self._loop, find, worker, alone, self._accepters, effect.patience, accepted
        )
        self._probes[key] = probe
        probe.begin()

    def forget(self, incarnation: int) -> None:
        """Stop all checks of a worker that is gone."""
        for key in [key for key in self._probes if key[0] == incarnation]:
            self._probes.pop(key).close()

    def _look(
        self,
        key: tuple[str, int],
        incarnation: int,
        is_empty: Emptying | Departure,
    ) -> None:
        """Check until `is_empty`, and report it; stop when the worker is gone."""
        try:
            empty = is_empty()
        except Exception as error:
            self._emit(e.QueueUnwatched(incarnation, str(error)))
            raise
        if empty or self._children.get(incarnation) is None:
            if empty:
                self._at_rest(key, incarnation)
            return
        self._loop.call_at(
            key,
            self._loop.now() + is_empty.pause,
            lambda: self._look(key, incarnation, is_empty),
        )
