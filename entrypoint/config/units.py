"""Times, sizes and signals as people write them in the file.

Every function takes a value as the core schema typed it and raises ValueError with a
sentence that says what is allowed.
"""

from __future__ import annotations

from .errors import suggest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .tree import Plain

_MS = {"ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
_TIME = 'a time is a number of milliseconds or a text such as "500ms", "5s", "1m30s"'
# Ten years; what is longer is a slip. (The loop waits in parts: `loop.LONGEST_WAIT`.)
_LONGEST_MS = 10 * 366 * 86_400_000.0
_SIZE = 'a size is a number of bytes or a text such as "512K", "200M", "1.5G"'
_BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def seconds(value: Plain) -> float:
    """Seconds of a time: PM2's milliseconds, or a text with units."""
    if isinstance(value, str):
        ms = _text_ms(value.strip())
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(_TIME)  # noqa: TRY004  one kind of error for the reader
    else:
        ms = float(value)
    # The comparison is also false for NaN.
    if not 0 <= ms <= _LONGEST_MS:
        raise ValueError("a time is between 0 and ten years")
    return ms / 1000


def _text_ms(text: str) -> float:
    if (bare := _number(text)) is not None:
        return bare
    total = 0.0
    at = 0
    while at < len(text):
        start = at
        while at < len(text) and text[at] in "0123456789.":
            at += 1
        amount = _number(text[start:at])
        start = at
        while at < len(text) and text[at] not in "0123456789.":
            at += 1
        unit = text[start:at].strip().lower()
        if amount is None or unit not in _MS:
            raise ValueError(_TIME)
        total += amount * _MS[unit]
    if not text:
        raise ValueError(_TIME)
    return total


def _number(text: str) -> float | None:
    """A decimal number without sign or exponent, or None."""
    digits = text.replace(".", "", 1)
    if digits.isascii() and digits.isdigit() and len(digits) <= 18:
        return float(text)
    return None


def size(value: Plain) -> int:
    """Bytes of a size: PM2's units, of 1024."""
    if isinstance(value, str):
        text = value.strip().upper().removesuffix("IB").removesuffix("B").strip()
        unit = text[-1:] if text[-1:] in {"K", "M", "G", "T"} else ""
        number = _number(text.removesuffix(unit).strip())
        if number is None:
            raise ValueError(_SIZE)
        amount = number * _BYTES[unit]
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(_SIZE)  # noqa: TRY004  as above
    else:
        amount = float(value)
    if not 0 <= amount < 2**63:
        raise ValueError(_SIZE)
    return int(amount)


def rlimit(value: Plain) -> int:
    """A number, a size, or `unlimited`, which is -1."""
    if isinstance(value, str) and value.strip().lower() in {"unlimited", "infinity"}:
        return -1
    if value == -1 and not isinstance(value, bool):
        return -1
    try:
        return size(value)
    except ValueError:
        raise ValueError('a limit is a number, a size such as "64M", or unlimited') from None


def signal_number(value: Plain) -> int:
    """A signal by name (`SIGTERM`, `term`, `RTMIN+3`) or number, 1 to 64."""
    import signal

    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError('a signal is a name such as "SIGTERM" or a number')  # noqa: TRY004
    text = str(value).strip().upper()
    if text.isascii() and text.isdigit() and len(text) < 4:
        number = int(text)
    else:
        names = {entry.name: int(entry) for entry in signal.Signals}
        # signal(7) has them as synonyms.
        names |= {"SIGIOT": int(signal.SIGABRT), "SIGPOLL": int(signal.SIGIO)}
        name = text.removeprefix("SIG")
        base, plus, offset = name.partition("-" if name.startswith("RTMAX") else "+")
        known = names.get(f"SIG{base}")
        if known is None:
            near = suggest(f"SIG{base}", names)
            raise ValueError(f"there is no signal of that name{near}")
        number = known
        if plus:
            if base not in {"RTMIN", "RTMAX"} or not (offset.isascii() and offset.isdigit()):
                raise ValueError('only real-time signals have an offset: "SIGRTMIN+3"')
            number += int(offset[:3]) if base == "RTMIN" else -int(offset[:3])
            if not signal.SIGRTMIN <= number <= signal.SIGRTMAX:
                raise ValueError("real-time signals go from SIGRTMIN to SIGRTMIN+30")
    # 32 and 33 are the C library's own; valid_signals() has neither.
    if number not in {int(valid) for valid in signal.valid_signals()}:
        raise ValueError("there is no signal of that number")
    return number


_CRON_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def cron(value: str) -> str:
    """A cron pattern of 5 fields, 6 with seconds first, or `@daily` and its kind.

    As cronsim reads it: nicknames written out, `?` as `*`. Whether it ever comes due is
    found out here, where an error is one of the file, and not when it is waited for.
    """
    text = " ".join(value.split())
    if text.startswith("@"):
        if text not in _CRON_NICKNAMES:
            raise ValueError(f"a cron nickname is one of {', '.join(_CRON_NICKNAMES)}")
        return _CRON_NICKNAMES[text]
    fields = ["*" if field == "?" else field for field in text.split(" ")]
    if len(fields) not in {5, 6}:
        raise ValueError("a cron pattern has 5 fields (minute hour day month weekday), or 6")
    # Late: most files have none.
    from datetime import UTC, datetime

    from cronsim import CronSim, CronSimError

    text = " ".join(fields)
    try:
        next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"no cron pattern: {str(error).lower()}") from None
    except StopIteration:
        raise ValueError("this cron pattern never comes due") from None
    return text
