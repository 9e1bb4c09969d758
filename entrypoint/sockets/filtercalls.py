"""Which system calls the filter of a worker reports: each one costs the program a notification."""

from __future__ import annotations

from entrypoint.kernel import bpf, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.core.spec import AppSpec

# Linux 6.11: IORING_OP_BIND and IORING_OP_LISTEN.
_RINGS_BIND = (6, 11)


def filter_calls(
    app: AppSpec, *, connects: bool, has_paths: bool, makes: bool, options: tuple[str, ...]
) -> tuple[str, ...]:
    """Names for `bpf.interception`.

    `connects`: all of them, also those whose address is as long as IPv4's. `has_paths`: the app
    has unix sockets. `makes`: pyinit makes the worker's sockets. `options`: setsockopt's.
    """
    hidden = any(bpf.looks_like_inet(each.path) for each in app.listen if each.family == "unix")
    connect = "connect_any" if connects or hidden else "connect"
    calls: tuple[str, ...] = (*bpf.PORT_CALLS, *bpf.REMOVALS, connect, *options)
    if has_paths:
        calls = (*calls, "shutdown")
    if seccomp.kernel_version() >= _RINGS_BIND:
        calls = (*calls, "io_uring_setup")
    return (*calls, "socket") if makes else calls
