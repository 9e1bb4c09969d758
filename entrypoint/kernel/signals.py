"""Signals: their names, the handlers of PID 1, and the descriptor that they write to.

The kernel drops every signal for which the init of a PID namespace has no handler
(`pid_namespaces(7)`), even SIGTERM: so the launcher installs handlers before it imports
anything, and `install_handlers` replaces them by ones that write to a descriptor.
Handlers rather than a mask: exec resets a handler by itself, while a blocked signal
stays blocked in every program that is started.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

SIGHUP = int(_signal.SIGHUP)
SIGINT = int(_signal.SIGINT)
SIGQUIT = int(_signal.SIGQUIT)
SIGKILL = int(_signal.SIGKILL)
SIGPIPE = int(_signal.SIGPIPE)
SIGTERM = int(_signal.SIGTERM)
SIGCHLD = int(_signal.SIGCHLD)
SIGCONT = int(_signal.SIGCONT)
SIGSTOP = int(_signal.SIGSTOP)
SIGTSTP = int(_signal.SIGTSTP)
SIGTTIN = int(_signal.SIGTTIN)
SIGTTOU = int(_signal.SIGTTOU)
SIGWINCH = int(_signal.SIGWINCH)
SIGXFSZ = int(_signal.SIGXFSZ)
SIGRTMIN = int(_signal.SIGRTMIN)
SIGRTMAX = int(_signal.SIGRTMAX)

# The capacity of a pipe, and how much is read at once: one byte for each signal, and seldom
# more than one. (A buffer of 64 KiB for it would be most of the cost of the read.)
_PIPE_SIZE = 65536
_CHUNK = 512

# All that a process may handle or block. The C library reserves 32 and 33.
ALL = frozenset(int(n) for n in _signal.valid_signals())

# Raised by the fault of an instruction: a handler that returns meets the fault again,
# forever. Left to the kernel.
FAULTS = frozenset(
    int(n)
    for n in (
        _signal.SIGSEGV,
        _signal.SIGBUS,
        _signal.SIGFPE,
        _signal.SIGILL,
        _signal.SIGABRT,
        _signal.SIGTRAP,
        _signal.SIGSYS,
    )
)

# Signals that stop the container before any file was read. Later core/shutdown.py decides
# what a stop is.
STOPS = frozenset((SIGTERM, SIGINT, SIGQUIT))

# Signals that stop a process until SIGCONT (SIGSTOP itself cannot be handled).
SUSPENDS = frozenset((SIGTSTP, SIGTTIN, SIGTTOU))

# Signals caught in run mode. Not SIGPIPE and SIGXFSZ, which pyinit's own writes raise: Python
# ignores both and reports EPIPE and EFBIG instead.
CAUGHT = ALL - FAULTS - {SIGKILL, SIGSTOP, SIGPIPE, SIGXFSZ}


def _names() -> dict[str, int]:
    names: dict[str, int] = {}
    for name in dir(_signal):
        if name.startswith("SIG") and not name.startswith("SIG_"):
            names[name] = int(getattr(_signal, name))
    # SIGCLD and SIGPOLL are other spellings; the usual name must win in `name_of`.
    for usual in ("SIGCHLD", "SIGIO", "SIGABRT"):
        names[usual] = names.pop(usual)
    return names


names: dict[str, int] = _names()
_by_number: dict[int, str] = {number: name for name, number in names.items()}


def name_of(number: int) -> str:
    """`SIGTERM` for 15, `SIGRTMIN+3` for a real-time signal, `signal 99` for no signal."""
    name = _by_number.get(number)
    if name is not None:
        return name
    if SIGRTMIN < number < SIGRTMAX:
        if number - SIGRTMIN <= SIGRTMAX - number:
            return f"SIGRTMIN+{number - SIGRTMIN}"
        return f"SIGRTMAX-{SIGRTMAX - number}"
    return f"signal {number}"


def parse_signal(text: str | int) -> int:
    """The number of `SIGTERM`, `term`, `15`, 15, `RTMIN+3` or `SIGRTMAX-1`.

    Raises ValueError, with a sentence, if there is no such signal.
    """
    if isinstance(text, int):
        if text in ALL:
            return text
        raise ValueError(f"there is no signal {text}")
    word = text.strip().upper()
    if word.isascii() and word.isdigit():
        return parse_signal(int(word))
    if not word.startswith("SIG"):
        word = f"SIG{word}"
    for base, sign in (("SIGRTMIN+", 1), ("SIGRTMAX-", -1)):
        if word.startswith(base) and word[len(base) :].isdigit():
            number = names[base[:-1]] + sign * int(word[len(base) :])
            if SIGRTMIN <= number <= SIGRTMAX:
                return number
    number = names.get(word, 0)
    if number:
        return number
    raise ValueError(f"there is no signal {text!r}")


class SignalPipe:
    """Signals as bytes on a descriptor, in the order of their arrival.

    `fd` becomes readable with each signal (`set_wakeup_fd`); `read` empties it.
    """

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._arrived: set[int] = set()
        self._incomplete = False  # a read failed for lack of memory

    def arrived(self, number: int, _frame: object) -> None:
        """The handler. The interpreter writes the byte before this runs."""
        # Only needed if the pipe was full (65,536 signals in one turn of the
        # loop) or could not be read: neither may hide a SIGTERM.
        self._arrived.add(number)

    def install(self) -> None:
        """Make this the descriptor that the interpreter's handler writes to."""
        _signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def read(self) -> list[int]:
        """Signals since the last call, in order; SIGCHLD at most once.

        The kernel merges pending instances of one standard signal, so the list is not
        a count. Empty if there were none.
        """
        # Taken before the pipe is read: a signal in between is left for the next call
        # in either place, or seen in both and returned once.
        arrived = self._arrived
        try:
            self._arrived = set()
            return self._read(arrived)
        except MemoryError:
            # The bytes read are lost; the handlers know which signals came.
            self._arrived |= arrived
            self._incomplete = True
            raise

    def _read(self, arrived: set[int]) -> list[int]:
        raw = b""
        try:
            while chunk := os.read(self.fd, _CHUNK):
                raw += chunk
                if len(chunk) < _CHUNK:
                    break
        except BlockingIOError:
            pass
        numbers: list[int] = []
        child = False
        for number in raw:
            if number != SIGCHLD:
                numbers.append(number)
            elif not child:
                child = True
                numbers.append(number)
        if len(raw) >= _PIPE_SIZE or self._incomplete:
            numbers.extend(sorted(arrived.difference(numbers)))
            self._incomplete = False
        return numbers

    def close(self) -> None:
        """Unset the handlers' descriptor. For tests and ends of runs that are not PID 1."""
        _signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._write)


def install_handlers(wakeup: SignalPipe) -> None:
    """Catch all of `CAUGHT` into `wakeup`, and unblock all signals.

    A signal that was ignored when pyinit was started stays ignored, as `nohup(1)` and
    a shell's `&` require it; SIGCHLD is always caught.
    """
    wakeup.install()
    # SIGXFSZ interrupts calls that wait for a worker (interrupt.py). Ignored, it could not.
    _signal.signal(SIGXFSZ, wakeup.arrived)
    for number in CAUGHT:
        if number == SIGCHLD or _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, wakeup.arrived)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def hold(number: int) -> None:
    """Block one signal: it stays pending until `release`. Children do not inherit it.

    (The forking code sets the child's mask.)
    """
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (number,))


def release(number: int) -> None:
    """Unblock it; a pending instance is delivered now."""
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (number,))


def take_pending(number: int) -> None:
    """Drop a pending instance of a blocked signal."""
    _signal.sigtimedwait((number,), 0)


def ignored() -> tuple[int, ...]:
    """Signals that were ignored when the interpreter started, except those it ignores itself.

    Python itself ignores SIGPIPE and SIGXFSZ; their earlier state is unknown.
    """
    ignore = _signal.SIG_IGN
    get = _signal.getsignal
    return tuple(n for n in ALL if get(n) == ignore and n not in (SIGPIPE, SIGXFSZ))
