"""Answers of `/metrics`, `/` and `/control/`. Each module is loaded with its first request."""

from __future__ import annotations

from entrypoint.api.probes import NO_METRICS, NO_PAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from entrypoint.api import control
    from entrypoint.api.probes import Answer, Handover, Later
    from entrypoint.api.socket_path import Peer
    from entrypoint.http.http1 import Request
    from entrypoint.metrics import collect
    from entrypoint.page import document, feed

    class Runtime(collect.Runtime, control.Runtime, feed.Runtime, Protocol):
        """What is used of the run."""


class Answers:
    """The answers of one run."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._collector: collect.Collector | None = None
        self._page: document.Page | None = None
        self._service: control.Service | None = None

    def metrics(self, accept: str) -> Answer | Later:
        """`/metrics`, for a scraper."""
        if not self._runtime.plan.probes.metrics:
            return NO_METRICS
        if self._collector is None:
            from entrypoint.metrics.collect import Collector

            self._collector = Collector(self._runtime)
        return self._collector.answer(accept)

    def page(self, request: Request) -> Answer | Handover:
        """`/` and `/events`, for people."""
        server = self._runtime.probes
        if not self._runtime.plan.probes.page or server is None:
            return NO_PAGE
        if self._page is None:
            from entrypoint.page.document import Page

            self._page = Page(self._runtime, server.status_body)
        return self._page.answer(request)

    def control(self, request: Request, peer: Peer) -> Answer | Handover:
        """`/control/…`: a command of a user."""
        if self._service is None:
            from entrypoint.api.control import Service

            self._service = Service(self._runtime)
        return self._service.answer(request, peer)
