"""Parses addresses to listen on: `5000`, `127.0.0.1:5000`, `[::]:5000`, `unix:/run/app.sock`.

Hosts are numeric or `localhost`: a name would need a resolver, which may block or return
another address later, while PID 1 keeps one socket for the container's whole life.
"""

from __future__ import annotations

import _socket

from entrypoint.core.spec import ListenSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Types of a scalar in the file.
    Plain = str | int | float | bool | None

_FORMS = (
    'an address is a port (5000), "127.0.0.1:5000", "[::1]:5000", '
    '"unix:/run/app.sock" or "unix:@name"'
)
# sockaddr_un.sun_path, unix(7): 108 bytes with the final NUL.
_LONGEST_PATH = 107


def parse(value: Plain, *, dual_stack: bool | None = None) -> ListenSpec:
    """The address of `value`. Raises ValueError with what is allowed.

    A bare port is every address of the host: `[::]` with IPv4 as well where the host
    has IPv6 (`dual_stack` None finds out), else `0.0.0.0`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(_FORMS)  # noqa: TRY004  one kind of error for the reader
    text = str(value).strip()
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"))
    host, colon, port_text = text.rpartition(":")
    port = _port(port_text)
    if not colon or host in {"", "*"}:
        if dual_stack is None:
            from entrypoint.kernel.sockets import has_ipv6

            dual_stack = has_ipv6()
        if dual_stack:
            return ListenSpec(family="inet6", host="::", port=port)
        return ListenSpec(family="inet", host="0.0.0.0", port=port)  # noqa: S104
    if host == "localhost":
        return ListenSpec(family="inet", host="127.0.0.1", port=port)
    if host[0] == "[" and host[-1] == "]":
        # An address in brackets takes IPv6 alone, as in nginx, but for the wildcard:
        # `[::]` is what node and Go bind for every address.
        numeric = _numeric(_socket.AF_INET6, host[1:-1])
        return ListenSpec(family="inet6", host=numeric, port=port)
    if ":" in host:
        raise ValueError(f'an IPv6 address stands in brackets: "[::1]:5000"; {_FORMS}')
    return ListenSpec(family="inet", host=_numeric(_socket.AF_INET, host), port=port)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(_FORMS)
    if len(text) > 5 or not 1 <= int(text) <= 65535:
        raise ValueError("a port is between 1 and 65535")
    return int(text)


def _numeric(family: int, host: str) -> str:
    try:
        return _socket.inet_ntop(family, _socket.inet_pton(family, host))
    except (OSError, ValueError):
        raise ValueError(f'the host is numeric, or "localhost"; {_FORMS}') from None


def _unix(path: str) -> ListenSpec:
    if "\0" in path or len(path.encode("utf-8", "surrogateescape")) > _LONGEST_PATH:
        raise ValueError(f"the path of a unix socket has at most {_LONGEST_PATH} bytes")
    if path in {"", "@", "/"} or path[0] not in "/@":
        raise ValueError('a unix socket is "unix:/absolute/path" or "unix:@abstract-name"')
    return ListenSpec(family="unix", path=path)


def parse_url(text: str) -> tuple[str, str]:
    """An `http://` URL as `host:port`, for `parse`, and path with query.

    Raises ValueError with what is allowed.
    """
    authority, slash, path = text.removeprefix("http://").partition("/")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a URL has neither spaces nor control characters; write them as %20")
    if "?" in authority or "#" in text or "@" in authority:
        raise ValueError("a URL is http://host:port/path?query here, without user and fragment")
    if authority.rpartition("]")[2].count(":") == 0:
        authority = f"{authority}:80"
    if authority.startswith(":"):
        raise ValueError("the URL needs a host")
    parse(authority, dual_stack=False)
    return authority, slash + path or "/"


def overlap(one: ListenSpec, other: ListenSpec) -> bool:
    """Whether both would accept the same connections."""
    if "unix" in {one.family, other.family}:
        return one.family == other.family and one.path == other.path
    if one.port != other.port:
        return False
    if one.family == other.family:
        return one.host == other.host
    # A dual-stack wildcard and the IPv4 wildcard.
    six, four = (one, other) if one.family == "inet6" else (other, one)
    return six.host == "::" and not six.v6only and four.host == "0.0.0.0"  # noqa: S104
