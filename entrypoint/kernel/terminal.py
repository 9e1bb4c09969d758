"""Pseudo terminals for workers (pty(7)), and pyinit's own terminal."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

# The size of a terminal for which none is set.
SIZE = (24, 80)


class TerminalError(OSError):
    """There is no pseudo terminal; the text is a sentence."""

    def __str__(self) -> str:
        """The sentence alone."""
        return f"tty: no pseudo terminal: {self.strerror}"


def open_pair(uid: int | None, size: tuple[int, int]) -> tuple[int, int]:
    """A pseudo terminal: (pyinit's end, non-blocking; the worker's end). Raises TerminalError.

    It belongs to the worker's user, who may open /dev/tty by its name. Lines end with a newline
    alone, as in a pipe.
    """
    try:
        ours, theirs = os.openpty()
    except OSError as error:
        raise TerminalError(error.errno, os.strerror(error.errno or 0)) from None
    try:
        os.set_blocking(ours, False)
        attributes = termios.tcgetattr(theirs)
        attributes[1] &= ~termios.ONLCR
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        resize(ours, size)
        if uid is not None:
            try:
                os.fchown(theirs, uid, -1)
            except OSError:
                pass  # without CAP_CHOWN: the open descriptor works
    except (OSError, termios.error) as error:
        os.close(ours)
        os.close(theirs)
        raise TerminalError(error.args[0], str(error.args[-1])) from None
    return ours, theirs


def control(fd: int) -> None:
    """Make it the controlling terminal of this session, which this process leads."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


def size_of(fds: tuple[int, ...] = (0, 1, 2)) -> tuple[int, int]:
    """Rows and columns of the first of these that is a terminal with a size, or `SIZE`."""
    for fd in fds:
        try:
            rows, columns = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))[
                :2
            ]
        except OSError:
            continue
        if rows and columns:
            return rows, columns
    return SIZE


def resize(fd: int, size: tuple[int, int]) -> None:
    """Set the size of a terminal; its foreground gets SIGWINCH if that changes."""
    try:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    except OSError:
        pass  # it is gone


def is_in_foreground(fd: int) -> bool:
    """Whether it is a terminal whose input is for pyinit.

    If it belongs to an outer PID namespace both numbers are 0.
    """
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


class Keys:
    """pyinit's own terminal while single keys are read from it: without lines, without echo.

    Ctrl-C and similar keys stay signals for pyinit. Raises OSError or termios.error.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._before = termios.tcgetattr(fd)
        wanted = termios.tcgetattr(fd)
        wanted[0] &= ~termios.ICRNL
        wanted[3] &= ~(termios.ICANON | termios.ECHO)
        wanted[6][termios.VMIN], wanted[6][termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSANOW, wanted)

    def restore(self) -> None:
        """Restore the terminal."""
        try:
            termios.tcsetattr(self.fd, termios.TCSANOW, self._before)
        except (OSError, termios.error):
            pass  # the terminal is gone
