"""Which of the app's addresses a worker's bind means, and which form of socket it needs.

A worker may ask for a declared address in several *forms*. The file says
`5000`, every address of the host; one worker binds `0.0.0.0:5000` on an AF_INET socket,
another `[::]:5000` on an AF_INET6 socket that takes IPv4 too. A worker given a socket of
another family reads garbage addresses, so each form has its own sockets, on the same
port. The file wins over the worker's request: a worker that would listen
on 127.0.0.1 gets what `listen` says, and one that would listen everywhere is limited
to what `listen` says.

While two forms listen, Linux gives an IPv4 connection to an AF_INET listener before a
dual-stack one (`compute_score` in net/ipv4/inet_hashtables.c). So overlapping forms may
exist side by side, but none may listen without an accepting worker: its clients would hang.
"""

from __future__ import annotations

from entrypoint.core.record import Record

from .sockaddr import MAPPED, Asked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.core.spec import ListenSpec

ANY4 = "0.0.0.0"  # noqa: S104  recognised, not bound
ANY6 = "::"


class Form(Record):
    """The address and options that a socket is bound to."""

    family: str  # inet | inet6 | unix
    host: str = ""
    port: int = 0
    v6only: bool = False
    scope: int = 0
    path: str = ""

    @property
    def text(self) -> str:
        """The address as people write it."""
        if self.family == "unix":
            return f"unix:{self.path}"
        return (
            f"[{self.host}]:{self.port}" if self.family == "inet6" else f"{self.host}:{self.port}"
        )

    def as_asked(self) -> Asked:
        """The request of a worker that needs exactly this form."""
        return Asked(self.family, host=self.host, port=self.port, scope=self.scope, path=self.path)

    @property
    def takes4(self) -> bool:
        """Whether it accepts IPv4 connections."""
        if self.family == "inet6":
            return self.host.startswith(MAPPED) or (self.host == ANY6 and not self.v6only)
        return self.family == "inet"

    @property
    def takes6(self) -> bool:
        """Whether it accepts IPv6 connections."""
        return self.family == "inet6" and not self.host.startswith(MAPPED)

    def overlaps(self, other: Form) -> bool:
        """Whether a connection could go to either of two forms of one address."""
        return (self.takes4 and other.takes4) or (self.takes6 and other.takes6)


def is_any(host: str) -> bool:
    """Whether it is the wildcard address."""
    return host in (ANY4, ANY6)


def first_form(spec: ListenSpec) -> Form:
    """How a declared address is bound before any worker has asked for it."""
    return Form(spec.family, host=spec.host, port=spec.port, v6only=spec.v6only, path=spec.path)


def form_as_asked(asked: Asked, *, v6only: bool) -> Form:
    """The form for an address that the file does not declare: exactly the worker's request."""
    return Form(
        asked.family,
        host=asked.host,
        port=asked.port,
        scope=asked.scope,
        path=asked.path,
        v6only=v6only and asked.family == "inet6" and not asked.host.startswith(MAPPED),
    )


def form_for(spec: ListenSpec, asked: Asked, *, v6only: bool) -> Form | None:
    """The form of a declared address that answers `asked`; None: the request means another one.

    `v6only` is the worker's IPV6_V6ONLY, which only matters for `::`.
    """
    if spec.family == "unix" or asked.family == "unix":
        same = spec.family == asked.family and spec.path == asked.path
        return first_form(spec) if same else None
    if spec.port != asked.port:
        return None
    everywhere = spec.family == "inet6" and spec.host == ANY6 and not spec.v6only
    if asked.family == "inet" or asked.host.startswith(MAPPED):
        return _form4(spec, asked, everywhere=everywhere)
    if everywhere:
        only6 = v6only or asked.host != ANY6
        return Form("inet6", host=ANY6, port=spec.port, v6only=only6)
    if spec.family == "inet6":
        if ANY6 in (asked.host, spec.host) or asked.host == spec.host:
            return first_form(spec)
        return None
    if asked.host == ANY6 and not v6only:
        # A dual-stack worker limited to IPv4 still needs a socket of its own family.
        return Form("inet6", host=MAPPED + spec.host, port=spec.port)
    return None


def _form4(spec: ListenSpec, asked: Asked, *, everywhere: bool) -> Form | None:
    if spec.family == "inet6" and not everywhere:
        return None
    ours = ANY4 if everywhere else spec.host
    theirs = asked.host.removeprefix(MAPPED)
    if ANY4 not in (ours, theirs) and ours != theirs:
        return None
    if asked.family == "inet":
        return Form("inet", host=ours, port=spec.port)
    return Form("inet6", host=MAPPED + ours, port=spec.port)


def meant(specs: tuple[ListenSpec, ...], asked: Asked, *, v6only: bool) -> tuple[int, Form] | None:
    """The declared address that `asked` means (its index in `specs`) and its form.

    An exact match comes before an address that only covers the request.
    """
    found: tuple[int, Form] | None = None
    for index, spec in enumerate(specs):
        form = form_for(spec, asked, v6only=v6only)
        if form is None:
            continue
        if (spec.family, spec.host) == (asked.family, asked.host):
            return index, form
        if found is None:
            found = index, form
    return found


def means_serve(command: tuple[str, ...]) -> bool:
    """Whether the command line is npm's `serve`, however it was started.

    `serve` 14 connects to its port before it binds, finds pyinit's listener, and asks for
    port 0 instead; that request gets the app's port. It is recognized by name, because other
    programs really want port 0 (internal servers of test runners and frameworks).
    """
    for word in command[:4]:
        parts = word.split("/")
        if parts[-1] == "serve" or (parts[-1].startswith("serve@") and len(parts) == 1):
            return True
        if word.endswith(("/serve/build/main.js", "/serve/bin/serve.js")):
            return True
    return False


def ports_of_serve(command: tuple[str, ...]) -> tuple[int, ...]:
    """The ports that a command line of `serve` asks for, in order."""
    ports = []
    for word, following in zip(command, (*command[1:], ""), strict=True):
        value = ""
        if word in ("-l", "--listen", "-p"):
            value = following
        elif word.startswith(("--listen=", "-l=", "-p=")):
            value = word.partition("=")[2]
        digits = value.rpartition(":")[2]
        if digits.isdigit() and 0 < int(digits) < 65536:
            ports.append(int(digits))
    return tuple(ports)


class PortErrors(Exception):
    """Addresses that cannot be bound; `problems` are sentences."""

    def __init__(self, problems: tuple[str, ...] | list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class ListenerDownError(OSError):
    """A listener that its workers shut down could not be restored yet."""

    def __init__(self, number: int, address: str, reason: str) -> None:
        super().__init__(number, reason, address)
        self.text = f"listener {address}: {reason}"

    def __str__(self) -> str:
        """The sentence for people."""
        return self.text
