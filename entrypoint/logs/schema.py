"""The log schema: the form of every record on stdout, from workers and from pyinit.

One JSON object a line, by these keys unless `log.keys` names them otherwise (layout.py):

| key | of | meaning |
|---|---|---|
| `timestamp` | all | when pyinit read or made it: RFC 3339, UTC, microseconds |
| `level` | all | of pyinit's events their own; of worker lines `info`, on stderr too |
| `event` | all | what happened; the text of a worker's line without its newline |
| `app`, `instance`, `pid` | worker lines, most events | whose it is |
| `stream` | worker lines | `stdout` or `stderr`: what tells a line from an event |
| `partial` | parts of a cut line | `true`: the next record of the stream continues it |
| `base64` | lines that are not UTF-8 | the line's exact bytes; `event` is only readable |

stderr is not an error: uvicorn, gunicorn, nginx and node's `console.warn` write what is
normal there. A worker that wants a level writes JSON (wrap.py).
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
STDOUT = "stdout"
STDERR = "stderr"


_second = (-1, "")


def stamp(nanoseconds: int) -> str:
    """`2026-01-02T03:04:05.678901Z` for nanoseconds since the epoch.

    structlog's TimeStamper leaves the fraction out when it is 0 (`datetime.isoformat`);
    here the width never changes, so that the text sorts as the time does.
    """
    global _second  # noqa: PLW0603  one second serves thousands of lines
    second, rest = divmod(nanoseconds, 1_000_000_000)
    if second != _second[0]:
        _second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
    return f"{_second[1]}.{rest // 1000:06d}Z"


# -- JSON without `json`, which would load `re` before the first worker has started ------

_CONTROLS = {
    byte: {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r"}.get(byte) or b"\\u%04x" % byte
    for byte in range(32)
}
_NO_CONTROLS = bytes((10, *range(32, 256)))


def escape_lines(text: bytes) -> bytes:
    """`text` (UTF-8) as the inside of JSON strings, its newlines left as they are."""
    text = text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    for byte in set(text.translate(None, _NO_CONTROLS)):
        text = text.replace(bytes((byte,)), _CONTROLS[byte])
    return text


def escape(text: bytes) -> bytes:
    """`text` (UTF-8) as the inside of a JSON string."""
    return escape_lines(text).replace(b"\n", b"\\n")


def quote(text: str) -> bytes:
    """`text` as a JSON string; what is no Unicode text (a surrogate) becomes `?`."""
    return b'"' + escape(text.encode("utf-8", "replace")) + b'"'


def encode(value: object) -> bytes:
    """Any value as JSON; what JSON has no form for, as the string of its `str`."""
    if value is None or value is True or value is False:
        return {None: b"null", True: b"true", False: b"false"}[value]
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        # JSON has no infinities and no NaN; they are the values that differ from this.
        return repr(value).encode() if value - value == 0 else quote(repr(value))
    if isinstance(value, dict):
        return b"{" + b",".join(quote(str(k)) + b":" + encode(v) for k, v in value.items()) + b"}"
    if isinstance(value, (list, tuple)):
        return b"[" + b",".join(encode(item) for item in value) + b"]"
    return quote(value if isinstance(value, str) else str(value))


def record(when: str, level: str, event: str, fields: Mapping[str, object]) -> bytes:
    """One record with its newline, by the default keys, as structlog's renderer makes it."""
    return encode({"timestamp": when, "level": level, "event": event, **fields}) + b"\n"
