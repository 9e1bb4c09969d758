"""HTTP/1.1 requests without I/O: bytes in, records out.

`receive` stores bytes, `next_event` takes at most one request out of them,
and the parser then waits until `answered` says that its answer is on the way: so
a client that sends a thousand requests at once gets them served one by one, and the
caller decides when. `TRANSITIONS` has the allowed sequences, a table
`{state: {event: next state}}`; a pair that is not in it is an error of the caller.

    AWAITING ──RequestLine──► READING ──Request──► ANSWERING ──Answered──► AWAITING
       │                         │ (Field: no move)    │
       ├────────Refused──────────┼──► REFUSED           └───────Closing──► CLOSED
       └────────Ended────────────┴──► CLOSED

Nothing that a client sends raises. What breaks a rule of RFC 9112 or a limit becomes one
`Refused` with the status to answer, after which the connection is to be closed: where
the next request would begin is no longer known. The result depends on the bytes alone
and not on how they were cut into pieces. Lines are judged as they come in and unused
fields are dropped at once, so a connection holds at most one unfinished line.

No body is ever read: a request that announces one has `has_body`, and is the last of its
connection.
"""

from __future__ import annotations

from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

AWAITING = "awaiting a request"
READING = "reading its fields"
ANSWERING = "answering"
REFUSED = "refused"
CLOSED = "closed"

TRANSITIONS: dict[str, dict[str, str]] = {
    AWAITING: {"RequestLine": READING, "Refused": REFUSED, "Ended": CLOSED},
    READING: {"Field": READING, "Request": ANSWERING, "Refused": REFUSED, "Ended": CLOSED},
    ANSWERING: {"Answered": AWAITING, "Closing": CLOSED},
    REFUSED: {},
    CLOSED: {},
}

# Bytes of one line without its end; RFC 9112 §3 recommends at least 8000 for the first.
LINE_LIMIT = 8192
# Bytes of all fields of one request with their line ends, and their number.
FIELDS_LIMIT = 16384
FIELD_COUNT_LIMIT = 100
# Empty lines before a request (RFC 9112 §2.2 asks to skip at least one).
BLANK_LIMIT = 8
QUERY_LIMIT = 100

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_FIRST = _TOKEN | frozenset(b"\r\n")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_DIGITS = frozenset(b"0123456789")
# RFC 3986 allows fewer in a target; more harm no one here.
_TARGET = frozenset(range(0x21, 0x7F)) - frozenset(b'#<>"\\^`{|}')
_VALUE = frozenset(range(0x20, 0x100)) - {0x7F} | {0x09}


class Request(Record):
    """One request; `minor` is the x of HTTP/1.x.

    `path` is split at `/` and then decoded: `/readyz/a%2Fb` is `("readyz", "a/b")` and
    `/` is `("",)`.
    """

    method: str
    path: tuple[str, ...]
    query: tuple[tuple[str, str], ...] = ()
    minor: int = 1
    keep_alive: bool = True
    has_body: bool = False
    accept: str = ""  # all of its Accept fields, only when the target is /metrics


class Refused(Record):
    """The input is not a request that can be answered: send `status`, then close."""

    status: int
    reason: str


class Ended(Record):
    """The client will send no more and has no request left. `clean`: not within a request."""

    clean: bool


class Misuse(Exception):
    """The caller asked for a transition that is not in `TRANSITIONS`."""


class RequestParser:
    """The input of one connection.

    Feed it only while `state` is not `ANSWERING`, else the client decides how much
    memory is used.
    """

    def __init__(self) -> None:
        self.state = AWAITING
        self._buffer = bytearray()
        self._searched = 0  # no line end before this offset
        self._ended = False
        self._reset()

    def _reset(self) -> None:
        self._blank = 0
        self._field_count = 0
        self._field_bytes = 0
        self._hosts = 0
        self._lengths: set[bytes] = set()
        self._encoded = False
        self._options: set[bytes] = set()
        self._accept = b""
        self._method = ""
        self._path: tuple[str, ...] = ()
        self._query: tuple[tuple[str, str], ...] = ()
        self._minor = 1
        self._keep_alive = True

    @property
    def buffered(self) -> int:
        """Bytes that came in and were not used yet."""
        return len(self._buffer)

    @property
    def begun(self) -> bool:
        """Whether a request has begun and is incomplete."""
        return self.state == READING or (self.state == AWAITING and bool(self._buffer))

    def receive(self, data: bytes) -> None:
        """More input; `b""` is its end. Input after the end or a refusal is dropped."""
        if not data:
            self._ended = True
        elif not self._ended and self.state not in {REFUSED, CLOSED}:
            self._buffer += data

    def next_event(self) -> Request | Refused | Ended | None:
        """The next event in the input; None if more input is needed.

        None too while a request waits for its answer, and after `Refused` and `Ended`.
        """
        while self.state in {AWAITING, READING}:
            try:
                line = self._take_line()
                if line is None:
                    return self._end() if self._ended else None
                if self.state == AWAITING:
                    self._begin(line)
                    continue
                request = self._add(line)
            except _Refusal as refusal:
                self._move("Refused")
                self._buffer.clear()
                return Refused(refusal.status, refusal.reason)
            if request is not None:
                return request
        return None

    def answered(self, *, close: bool = False) -> None:
        """The answer to the last request is complete. Raises Misuse when there was none.

        With `close`, or when the request was the last of its connection, the rest of the
        input is dropped.
        """
        if close or not self._keep_alive:
            self._move("Closing")
            self._buffer.clear()
        else:
            self._move("Answered")
        self._reset()

    # -- steps --------------------------------------------------------------------

    def _move(self, event: str) -> None:
        following = TRANSITIONS[self.state].get(event)
        if following is None:
            raise Misuse(f"{event} while {self.state}")
        self.state = following

    def _end(self) -> Ended:
        clean = not self.begun
        self._move("Ended")
        self._buffer.clear()
        return Ended(clean)

    def _take_line(self) -> bytes | None:
        """The next line without its end (CR LF, or LF alone: RFC 9112 §2.2)."""
        buffer = self._buffer
        if self.state == AWAITING and buffer and buffer[0] not in _FIRST:
            # Known from the first byte: a TLS hello would never send a line end.
            raise _Refusal(400, "TLS is not spoken here" if buffer[0] == 0x16 else "not HTTP")
        end = buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(buffer)
            # One more for a CR whose LF is still to come.
            if len(buffer) > LINE_LIMIT + 1:
                raise self._too_long()
            return None
        self._searched = 0
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        if self.state == READING:
            self._field_bytes += len(line) + 1
        line = line.removesuffix(b"\r")
        if len(line) > LINE_LIMIT:
            raise self._too_long()
        return line

    def _too_long(self) -> _Refusal:
        if self.state == AWAITING:
            return _Refusal(414, f"the request line is longer than {LINE_LIMIT} bytes")
        return _Refusal(431, f"a header field is longer than {LINE_LIMIT} bytes")

    def _begin(self, line: bytes) -> None:
        if not line:
            self._blank += 1
            if self._blank > BLANK_LIMIT:
                raise _Refusal(400, "empty lines instead of a request")
            return
        parts = line.split(b" ")
        if len(parts) != 3:
            raise _Refusal(400, "the request line is not: method, target, HTTP version")
        method, target, version = parts
        if not method or not _TOKEN.issuperset(method):
            raise _Refusal(400, "the method is not a word")
        self._minor = _minor_version(version)
        self._path, self._query = _parse_target(target)
        self._method = method.decode("ascii")
        self._move("RequestLine")

    def _add(self, line: bytes) -> Request | None:
        if not line:
            return self._complete()
        self._field_count += 1
        if self._field_count > FIELD_COUNT_LIMIT:
            raise _Refusal(431, f"more than {FIELD_COUNT_LIMIT} header fields")
        if self._field_bytes > FIELDS_LIMIT:
            raise _Refusal(431, f"the header is longer than {FIELDS_LIMIT} bytes")
        name, colon, value = line.partition(b":")
        if not colon or not name or not _TOKEN.issuperset(name):
            # Folded lines and a space before the colon too: RFC 9112 §5.1 and §5.2.
            raise _Refusal(400, "a header field is not: name, colon, value")
        if not _VALUE.issuperset(value):
            raise _Refusal(400, "a header field has a control character")
        self._use(name.lower(), value.strip(b" \t"))
        self._move("Field")
        return None

    def _use(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"content-length":
            # The same number twice is allowed (RFC 9110 §8.6), a second one is not.
            self._lengths.update(part.strip(b" \t") for part in value.split(b",", 8))
            if len(self._lengths) > 1:
                raise _Refusal(400, "Content-Length is not one number")
        elif name == b"transfer-encoding":
            self._encoded = True
        elif name == b"accept" and self._path[0] == "metrics":
            self._accept = self._accept + b"," + value if self._accept else value
        elif name == b"connection":
            # Two words matter; keeping others would let a client choose what is kept.
            self._options.update(
                {b"close", b"keep-alive"} & {o.strip(b" \t") for o in value.lower().split(b",")}
            )

    def _complete(self) -> Request:
        if self._hosts > 1 or (self._minor >= 1 and self._hosts == 0):
            raise _Refusal(400, "there must be one Host field")  # RFC 9112 §3.2
        if not all(
            length and len(length) <= 18 and _DIGITS.issuperset(length) for length in self._lengths
        ):
            raise _Refusal(400, "Content-Length is not one number")
        if self._encoded and (self._lengths or self._minor == 0):
            raise _Refusal(400, "Transfer-Encoding cannot be here")  # RFC 9112 §6.1
        has_body = self._encoded or any(int(length) for length in self._lengths)
        keep = b"keep-alive" in self._options if self._minor == 0 else True
        self._keep_alive = keep and b"close" not in self._options and not has_body
        self._move("Request")
        return Request(
            self._method,
            self._path,
            self._query,
            self._minor,
            self._keep_alive,
            has_body,
            self._accept.decode("latin-1"),
        )


class _Refusal(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def _minor_version(version: bytes) -> int:
    if len(version) != 8 or version[:5] != b"HTTP/" or version[6:7] != b".":
        raise _Refusal(400, "the request line is not: method, target, HTTP version")
    if not _DIGITS.issuperset(version[5:6] + version[7:]):
        raise _Refusal(400, "the request line is not: method, target, HTTP version")
    if version[5:6] != b"1":
        raise _Refusal(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    return min(int(version[7:]), 1)


def _parse_target(target: bytes) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    if not target or not _TARGET.issuperset(target):
        raise _Refusal(400, "the target has a character that is not allowed in one")
    if target[:1] != b"/":
        scheme, found, rest = target.partition(b"://")
        if found and scheme.lower() in {b"http", b"https"}:
            # absolute-form, as a proxy sends it: the authority says nothing here.
            authority, slash, path = rest.partition(b"/")
            if b"?" in authority:
                slash, path = b"?", rest.partition(b"?")[2]
            target = b"/" + (path if slash == b"/" else slash + path)
        # What is left are OPTIONS *, CONNECT host:port and nonsense: a path that is
        # found nowhere.
    raw_path, _, raw_query = target.partition(b"?")
    segments = raw_path.removeprefix(b"/").split(b"/")
    pairs = [part for part in raw_query.split(b"&") if part]
    if len(pairs) > QUERY_LIMIT:
        raise _Refusal(400, f"more than {QUERY_LIMIT} parameters in the query")
    return tuple(_decode(segment) for segment in segments), tuple(_decode_pairs(pairs))


def _decode_pairs(pairs: list[bytes]) -> Iterable[tuple[str, str]]:
    for pair in pairs:
        key, _, value = pair.replace(b"+", b" ").partition(b"=")
        yield _decode(key), _decode(value)


def _decode(text: bytes) -> str:
    """Percent-decoded UTF-8 (RFC 3986 §2.1)."""
    head, *rest = text.split(b"%")
    decoded = bytearray(head)
    for part in rest:
        if len(part) < 2 or not _HEX.issuperset(part[:2]):
            raise _Refusal(400, "a % in the target without two hexadecimal digits")
        decoded.append(int(part[:2], 16))
        decoded += part[2:]
    try:
        return decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise _Refusal(400, "the target is not UTF-8") from None
