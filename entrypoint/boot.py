"""From the launcher to what is asked for: one command, or the apps of a file."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
else:
    import _signal

# tini's options take part in the choice only where they cannot be those of a run.
_COMMAND_OPTIONS = "gspevw"
# Those of a run, each with a value.
_RUN_OPTIONS = ("-c", "--config", "--env", "--only")
_STOPS = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT)


def main(argv: list[str], boot_signals: Sequence[int] = (), *, leave: bool = False) -> int:
    """Do what `argv` (without the program's name) says; the exit code.

    `boot_signals`: signals that came before anything else was imported, in order. With `leave`
    the process ends here, without the interpreter's own long way out (5 ms, and with
    PYTHONINSPECT it would ask for more).
    """
    try:
        code = _dispatch(argv, boot_signals)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            os.write(2, f"{error.code}\n".encode("utf-8", "replace"))
    except BaseException:
        if not leave:
            raise
        sys.excepthook(*sys.exc_info())
        code = 1
    if leave:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass  # closed, a broken pipe, None: no reader is left
        os._exit(code)
    return code


def _dispatch(argv: list[str], boot_signals: Sequence[int]) -> int:
    word = argv[0] if argv else ""
    if word == "--" or (len(word) > 1 and word[0] == "-" and word[1] in _COMMAND_OPTIONS):
        from .shell.command import main as run_command

        return run_command(argv, boot_signals)
    _open_missing()
    starts_run = starts_a_run(argv)
    if not starts_run:
        _ordinary_signals()
        if any(number in _STOPS for number in boot_signals):
            return 128 + next(number for number in boot_signals if number in _STOPS)
    from .cli import main as run_cli

    return run_cli(argv, boot_signals, starts_run=starts_run)


def _is_program(argv: list[str]) -> bool:
    """The words are those of `pm2-runtime`: a file, a program, `start` and one of these."""
    from .client import pm2_command_line

    if argv[0] not in pm2_command_line.RUN_WORDS:
        from .cli import is_command

        if is_command(argv[0]):
            return False
    return pm2_command_line.begins_a_run(argv)


def starts_a_run(argv: list[str]) -> bool:
    """The words begin the life of an init. `pyinit run NAME` asks a running one instead."""
    word = argv[0] if argv else ""
    if word in ("-h", "--help", "-V", "--version"):
        return False
    if word == "dev":
        return not {"-h", "--help"} & set(argv)
    if word != "run":
        return word == "" or word.startswith("-") or _is_program(argv)
    words = argv[1:]
    while words:
        word = words.pop(0)
        if word in _RUN_OPTIONS:
            del words[:1]
        elif word.partition("=")[0] not in _RUN_OPTIONS:
            return False
    return True


def _ordinary_signals() -> None:
    """Undo the launcher's handlers for a command that is no init, such as `pyinit check`.

    A stop must still end it when it is PID 1 (`docker run IMAGE check`), where the
    default action is to do nothing.
    """

    def stop(number: int, _frame: object) -> None:
        os._exit(128 + number)

    for number in _signal.valid_signals():
        if number not in (_signal.SIGKILL, _signal.SIGSTOP) and callable(_signal.getsignal(number)):
            _signal.signal(number, stop if number in _STOPS else _signal.SIG_DFL)


def _open_missing() -> None:
    """Open /dev/null for each standard stream that is closed.

    Else the next descriptor (a socket, an epoll) would get its number, and be written to.
    """
    if sys.stdin is not None and sys.stdout is not None and sys.stderr is not None:
        return
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
