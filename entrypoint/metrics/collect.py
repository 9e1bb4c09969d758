"""Makes a page of metrics from the running pyinit, in pieces so small that nothing waits.

With a thousand workers a page costs a tenth of a second of reading /proc, in a child (walk.py),
and as much of making samples. So it is made by a generator that is given `SLICE` seconds in a
turn of the loop; signals, children and probes are served between its pieces. A request while
a page is being made gets that page, and a request soon after gets it again: a page is valid for
nine times as long as it cost, so scrapes never take more than a tenth of a CPU, however many
there are.
"""

from __future__ import annotations

import os
import sys
import time

from entrypoint import __version__
from entrypoint.api.probes import (
    Answer,
    Later,
    app_passed,
    passed,
)
from entrypoint.core import view as states
from entrypoint.core.reasons import RESTARTS
from entrypoint.core.spec import AUTO
from entrypoint.kernel import limits, proc

from .child import ChildReader
from .counters import AppCounters
from .readings import Readings
from .text import OPENMETRICS, PLAIN, Page, labels, wants_openmetrics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from entrypoint.core.spec import Plan
    from entrypoint.core.supervisor import Supervisor
    from entrypoint.core.view import AppView, View, WorkerView
    from entrypoint.http.server import ProbeServer
    from entrypoint.logs.pump import LogPump
    from entrypoint.loop import Loop
    from entrypoint.metrics.counters import Counters
    from entrypoint.shell.children import Children
    from entrypoint.shell.failures import Failures
    from entrypoint.shell.schedules import Schedules
    from entrypoint.shell.turn_times import Turns
    from entrypoint.sockets.effects import PortEffects

    Done = Callable[[Answer], None]

    class Runtime(Protocol):
        """What is used of the run."""

        children: Children
        core: Supervisor
        failures: Failures
        loop: Loop
        plan: Plan
        ports: PortEffects
        probes: ProbeServer | None
        pump: LogPump
        schedules: Schedules
        counters: Counters
        turns: Turns

        def memory_share(self) -> int:
            """What one worker may take of the container's memory now, bytes."""


# Seconds of work in one turn of the loop.
SLICE = 0.002
# How long a page is reused, as a multiple of its cost.
REUSED = 9

PHASES = ("running", "draining", "stopping")


class Collector:
    """Makes pages on request."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._loop = runtime.loop
        self._readings = Readings(
            lambda done: ChildReader(runtime.loop, runtime.children.adopt_helper, done)
        )
        self._waiting: dict[object, tuple[bool, Done]] = {}
        self._page = Page()
        self._work: Iterator[float] | None = None
        self._cost = 0.0  # of the page so far, CPU seconds
        self._good_until = 0.0
        self._bodies: dict[bool, bytes] = {}
        # Counters that are read from sockets, which may be gone at the next read.
        self._drops: dict[tuple[str, str], int] = {}

    def answer(self, accept: str) -> Answer | Later:
        """A page in the format of the Accept field, now or later."""
        openmetrics = wants_openmetrics(accept)
        if self._bodies_are_good():
            return self._answer(openmetrics=openmetrics)
        return Later(lambda done: self._queue(openmetrics, done))

    def _bodies_are_good(self) -> bool:
        return self._work is None and self._loop.now() < self._good_until

    def _queue(self, openmetrics: bool, done: Done) -> Callable[[], None]:
        key = object()
        self._waiting[key] = (openmetrics, done)
        if self._work is None:
            self._page = Page()
            self._cost = 0.0
            self._work = self._make(self._page)
            self._loop.call_at(self, self._loop.now(), self._slice)
        return lambda: self._waiting.pop(key, None) and None

    def _slice(self) -> None:
        assert self._work is not None
        began, used = self._loop.now(), time.process_time()
        try:
            for pause in self._work:
                now = self._loop.now()
                if pause or now - began > SLICE:
                    self._cost += time.process_time() - used
                    self._loop.call_at(self, now + pause, self._slice)
                    return
        except Exception:
            self._work = None
            self._tell(lambda _: Answer(500, b"an error of pyinit's own; its log tells more\n"))
            raise
        self._work = None
        self._bodies.clear()
        self._cost += time.process_time() - used + self._readings.spent
        self._readings.spent = 0.0
        self._good_until = self._loop.now() + REUSED * self._cost
        self._tell(lambda openmetrics: self._answer(openmetrics=openmetrics))

    def _tell(self, make: Callable[[bool], Answer]) -> None:
        waiting, self._waiting = self._waiting, {}
        for openmetrics, done in waiting.values():
            done(make(openmetrics))

    def _answer(self, *, openmetrics: bool) -> Answer:
        body = self._bodies.get(openmetrics)
        if body is None:
            body = self._bodies[openmetrics] = self._page.render(openmetrics=openmetrics)
        return Answer(200, body, OPENMETRICS if openmetrics else PLAIN)

    # -- the samples ------------------------------------------------------------------

    def _make(self, page: Page) -> Iterator[float]:
        view = self._runtime.core.view()
        yield 0.0
        workers = [worker for app in view.apps for worker in app.workers]
        yield from self._readings.take(workers)
        # What the core knows is looked at last, all at one moment; but for the readings,
        # which are some slices old.
        view = self._runtime.core.view()
        now = self._loop.now()
        self._of_pyinit(page, view)
        yield 0.0
        for app in view.apps:
            self._of_app(page, app)
            yield 0.0
            for worker in shown(app.workers):
                self._of_worker(page, worker, now)
                yield 0.0
        for app in view.apps:
            self._of_listeners(page, app.name)
            yield 0.0
        self._of_the_network(page)
        self._of_logs(page)
        self._of_probes(page)
        self._of_this_process(page)

    def _of_pyinit(self, page: Page, view: View) -> None:
        runtime = self._runtime
        counters = runtime.counters
        version = ".".join(str(number) for number in sys.version_info[:3])
        page.add("pyinit_build", 1, labels(version=__version__, python=version))
        for phase in PHASES:
            page.add("pyinit_phase", int(view.phase == phase), labels(phase=phase))
        for probe in ("livez", "readyz", "startupz"):
            ok = passed(probe, view, runtime.plan.probes.ready_when)
            page.add("pyinit_probe_passed", int(ok), labels(probe=probe))
        page.add("pyinit_config_revision", view.revision)
        page.add("pyinit_config_last_reload_successful", int(not view.config_error))
        page.add(
            "pyinit_config_last_reload_success_timestamp_seconds",
            round(counters.config_accepted_at, 3),
        )
        for result, count in counters.config.items():
            page.add("pyinit_config_reloads", count, labels(result=result))
        page.add("pyinit_orphans_reaped", runtime.children.orphans)
        page.add("pyinit_children_cpu_seconds", round(proc.used_by_children(), 3))
        page.add("pyinit_internal_errors", runtime.failures.errors)
        page.add("pyinit_memory_shortages", runtime.failures.shortages)
        page.add("pyinit_loop_turn_longest_seconds", round(runtime.turns.longest, 6))
        page.histogram("pyinit_loop_turn_seconds", counters.turn_seconds)

    def _of_app(self, page: Page, app: AppView) -> None:
        runtime = self._runtime
        own = labels(app=app.name)
        spec = runtime.plan.app(app.name)
        if spec is not None:
            named = labels(app=app.name, exec_mode=app.exec_mode, namespace=spec.namespace)
            page.add("pyinit_app", 1, named)
            limit = spec.max_memory_restart
            if limit == AUTO:
                limit = runtime.memory_share()
            if limit:
                page.add("pyinit_app_max_memory_restart_bytes", limit, own)
        page.add("pyinit_app_ready", int(app_passed(app, runtime.plan.probes.ready_when)), own)
        page.add("pyinit_app_errored", int(app.errored), own)
        page.add("pyinit_app_stopped", int(app.stopped), own)
        page.add("pyinit_app_finished", int(app.finished), own)
        page.add("pyinit_app_reloading", int(app.reloading), own)
        page.add("pyinit_app_workers_wanted", app.wanted, own)
        page.add("pyinit_app_workers_ready", app.ready_workers, own)
        stuck = sum(bool(worker.stuck) for worker in app.workers)
        page.add("pyinit_app_workers_stuck", stuck, own)
        found = dict.fromkeys(states.STATES, 0)
        for worker in app.workers:
            found[worker.state] += 1
        for state, count in found.items():
            page.add("pyinit_app_workers", count, labels(app=app.name, state=state))
        counters = runtime.counters.apps.get(app.name) or AppCounters()
        for reason in sorted({*RESTARTS, *counters.restarts}):
            count = counters.restarts.get(reason, 0)
            page.add("pyinit_worker_restarts", count, labels(app=app.name, reason=reason))
        page.add("pyinit_worker_stalls", counters.stalls, own)
        for result, count in counters.reloads.items():
            page.add("pyinit_app_reloads", count, labels(app=app.name, result=result))
        if app.job is not None:
            self._of_job(page, app, counters)
        page.histogram("pyinit_worker_ready_duration_seconds", counters.ready_seconds, app=app.name)
        page.histogram("pyinit_app_reload_duration_seconds", counters.reload_seconds, app=app.name)

    def _of_job(self, page: Page, app: AppView, counters: AppCounters) -> None:
        job, own = app.job, labels(app=app.name)
        if job is None:
            return
        due = self._runtime.schedules.next_run(app.name)
        if due is not None:
            page.add("pyinit_job_next_start_timestamp_seconds", round(due, 3), own)
        spec = self._runtime.plan.app(app.name)
        if spec is None or spec.autorestart:
            return
        for result in ("succeeded", "failed", "stopped", "skipped"):
            named = labels(app=app.name, result=result)
            page.add("pyinit_job_runs", counters.runs.get(result, 0), named)
        page.add("pyinit_job_running", int(job.running), own)
        if job.started_at:
            at = time.time() - (self._loop.now() - job.started_at)
            page.add("pyinit_job_last_start_timestamp_seconds", round(at, 3), own)
        if job.runs:
            page.add("pyinit_job_last_duration_seconds", round(job.took, 3), own)
            page.add("pyinit_job_last_exit_code", job.exit_code, own)

    def _of_worker(self, page: Page, worker: WorkerView, now: float) -> None:
        own = labels(app=worker.app, worker=worker.instance)
        page.add("pyinit_worker_up", int(worker.pid > 0), own)
        page.add("pyinit_worker_ready", int(worker.ready), own)
        if worker.health:
            page.add("pyinit_worker_healthy", int(worker.health == states.PASSING), own)
        page.add("pyinit_worker_cpu_seconds", self._readings.cpu(worker.app, worker.instance), own)
        if worker.pid:
            started = self._readings.started_at(worker, now)
            page.add("pyinit_worker_start_time_seconds", started, own)
        reading = self._readings.of.get(worker.incarnation)
        if reading is None:
            return
        page.add("pyinit_worker_resident_memory_bytes", reading.rss, own)
        if reading.pss is not None:
            page.add("pyinit_worker_proportional_memory_bytes", reading.pss, own)
        if reading.fds is not None:
            page.add("pyinit_worker_open_fds", reading.fds, own)
        page.add("pyinit_worker_processes", reading.processes, own)
        page.add("pyinit_worker_threads", reading.threads, own)

    def _of_listeners(self, page: Page, app: str) -> None:
        ports = self._runtime.ports.get(app)
        if ports is None:
            return
        ages = ports.listeners.queue_ages()
        for address, depths in ports.depths().items():
            own = labels(app=app, address=address)
            if address in ages:
                page.add("pyinit_listener_queue_age_seconds", round(ages[address], 3), own)
            waiting = [depth.waiting for depth in depths]
            page.add("pyinit_listener_queued_connections", sum(waiting), own)
            page.add("pyinit_listener_longest_queue_connections", max(waiting), own)
            limit = min(depth.limit for depth in depths)
            page.add("pyinit_listener_queue_limit_connections", limit, own)
            drops = [depth.drops for depth in depths if depth.drops is not None]
            if drops:
                key = (app, address)
                self._drops[key] = max(sum(drops), self._drops.get(key, 0))
                page.add("pyinit_listener_drops", self._drops[key], own)

    def _of_the_network(self, page: Page) -> None:
        names = ("ListenOverflows", "ListenDrops")
        found = proc.network_counters("TcpExt", names)
        families = ("pyinit_network_listen_overflows", "pyinit_network_listen_drops")
        for name, family in zip(names, families, strict=True):
            if name in found:
                page.add(family, found[name])

    def _of_logs(self, page: Page) -> None:
        pump = self._runtime.pump
        for (app, stream), (lines, size) in pump.counters.items():
            own = labels(app=app, stream=stream)
            page.add("pyinit_log_lines", lines, own)
            page.add("pyinit_log_bytes", size, own)
        page.add("pyinit_log_lost_lines", pump.lost)
        page.add("pyinit_log_pending_bytes", pump.pending)

    def _of_probes(self, page: Page) -> None:
        server = self._runtime.probes
        if server is None:
            return
        for (path, code), count in sorted(server.requests.items()):
            page.add("pyinit_probe_requests", count, labels(path=path, code=code))
        page.add("pyinit_probe_clients", server.connections)
        page.add("pyinit_probe_evicted_clients", server.evicted)

    def _of_this_process(self, page: Page) -> None:
        page.add("process_cpu_seconds", round(proc.used()[0], 3))
        own = proc.usage("self")
        if own is not None:
            page.add("process_resident_memory_bytes", own.rss)
            page.add("process_virtual_memory_bytes", own.virtual)
        fds = proc.open_files(os.getpid())
        if fds is not None:
            page.add("process_open_fds", fds)
        most = limits.open_files()
        page.add("process_max_fds", most if most >= 0 else float("inf"))
        page.add("process_start_time_seconds", round(self._runtime.counters.began_at, 3))


def shown(workers: tuple[WorkerView, ...]) -> list[WorkerView]:
    """One worker for each instance number: the ready one, else the youngest.

    In a reload an instance has two for a while; a series has one.
    """
    chosen: dict[int, WorkerView] = {}
    for worker in workers:
        other = chosen.get(worker.instance)
        if other is None or (worker.ready, worker.incarnation) > (other.ready, other.incarnation):
            chosen[worker.instance] = worker
    return list(chosen.values())
