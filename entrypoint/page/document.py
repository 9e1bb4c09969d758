"""The answers to `GET /` and `GET /events`: the page, and the stream of events that keeps it live.

The page is one file without any other resource. Its Content-Security-Policy names the hashes of
its only script and its only style sheet, so nothing else can run in it, and it may only contact
this server. It shows data of workers (names, reasons, `STATUS=`) as text.
"""

from __future__ import annotations

import binascii
import os

from entrypoint.api.probes import Answer, Handover

from .feed import STREAM_LIMIT, Feed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from entrypoint.http.http1 import Request
    from entrypoint.http.listening import ConnectionLimiter

    from .feed import Runtime

    sha256: Callable[[bytes], _Hash]

    class _Hash:
        def digest(self) -> bytes:
            """The hash."""
else:
    # Not `hashlib`, which loads OpenSSL.
    try:
        from _sha2 import sha256
    except ImportError:  # before Python 3.12
        from _sha256 import sha256

HTML = "text/html; charset=utf-8"
EVENT_STREAM = "text/event-stream"

TOO_MANY = Answer(503, b"too many people look at this page; /status says the same\n")


class Page:
    """The page of one run."""

    def __init__(self, runtime: Runtime, status: Callable[[], bytes]) -> None:
        self._feed = Feed(runtime, status)
        self._document: Answer | None = None

    def answer(self, request: Request) -> Answer | Handover:
        """The response to `GET /` or `GET /events`, or to HEAD."""
        if request.path == ("",):
            if self._document is None:
                self._document = document(_read("index.html"))
            return self._document
        if request.method == "HEAD":
            return Answer(200, b"", EVENT_STREAM)
        if self._feed.viewers >= STREAM_LIMIT:
            return TOO_MANY
        return Handover(self._begin)

    def _begin(self, sock: _socket.socket, limiter: ConnectionLimiter) -> None:
        self._feed.join(sock, limiter)


def document(html: bytes) -> Answer:
    """The answer with the page, and the policy that fits its script and style sheet."""
    script = _hash_of(_between(html, b"<script>", b"</script>"))
    style = _hash_of(_between(html, b"<style>", b"</style>"))
    policy = (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    )
    fields = (
        b"Content-Security-Policy: " + policy.encode(),
        b"Cross-Origin-Opener-Policy: same-origin",
        b"Cross-Origin-Resource-Policy: same-origin",
        b"Referrer-Policy: no-referrer",
    )
    return Answer(200, html, HTML, fields=fields)


def _hash_of(source: bytes) -> str:
    return "sha256-" + binascii.b2a_base64(sha256(source).digest(), newline=False).decode()


def _between(html: bytes, begin: bytes, end: bytes) -> bytes:
    return html.partition(begin)[2].partition(end)[0]


def _read(name: str) -> bytes:
    """A file beside this one, wherever the package lies (PEP 302: in an archive too)."""
    if "__file__" not in globals():  # the packages' program: scripts/packages/freeze.py
        from _pyinit_data import FILES

        return FILES[f"page/{name}"]  # type: ignore[no-any-return,unused-ignore]
    path = os.path.join(os.path.dirname(__file__), name)
    data: bytes = globals()["__loader__"].get_data(path)
    return data
