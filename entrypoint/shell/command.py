"""`pyinit -- CMD`: one command under an init, like `tini -- CMD`.

All signals are blocked for the whole life of this process and taken one by one with
sigwaitinfo(2): a blocked signal is never dropped, not even for PID 1, and there is no
handler that could run in between. SIGCHLD reaps; every other signal goes to the child.

The child leads a process group of its own, in the terminal's foreground if pyinit's was.
It gets the mask and the ignored signals that pyinit was started with (`nohup`), but
SIGPIPE and SIGXFSZ at their default: Python ignores both.

When the child has ended, pyinit exits with its status, and the kernel kills all other processes
in the namespace of PID 1. With `-g`, which is for commands that are a whole group of
processes, the group first gets SIGTERM and time to finish, as with dumb-init.

Below a shell pyinit stops with its child (Ctrl-Z), so that job control sees it (job_control.py).
Messages of pyinit go to stderr as plain text: stdout belongs to the command.
"""

from __future__ import annotations

import os
import time

from entrypoint.kernel import reap, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
else:
    import _signal

USAGE_ERROR = 2
USAGE = "usage: pyinit [-g] [-s] [-p SIGNAL] [-e CODE] [-v] [-w] -- CMD [ARG…]"

# How long a group may run after its leader's end (s): the default of kill_timeout.
GROUP_TIMEOUT = 8.0

# A user at a terminal does not want to wait for that. The same Ctrl-C may arrive twice (s).
HURRYING = (signals.SIGINT, signals.SIGQUIT)
HURRY_AGAIN = 0.5

# A tuple: each wait iterates over it.
_AWAITED = tuple(signals.ALL - {signals.SIGKILL, signals.SIGSTOP})
_BUT_SIGCHLD = tuple(number for number in _AWAITED if number != signals.SIGCHLD)

# How long orphans are left to accumulate before they are reaped together (s).
GATHER = 0.003

# Sockets and a watchdog that systemd passes to pyinit are for the command: sd_listen_fds(3) and
# sd_watchdog_enabled(3) compare these with their own pid.
_PIDS = ("LISTEN_PID", "WATCHDOG_PID")

_REAPER_WARNING = """\
pyinit is not running as PID 1 and isn't registered as a child subreaper.
Zombie processes will not be re-parented to pyinit, so zombie reaping won't work.
To fix the problem, use the -s option or set the environment variable TINI_SUBREAPER to \
register pyinit as a child subreaper, or run pyinit as PID 1."""


class UsageError(Exception):
    """The command line is wrong; the text is a sentence."""


class Options:
    """tini's options, from its environment variables and then the command line."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.group = "TINI_KILL_PROCESS_GROUP" in environ
        self.subreaper = "TINI_SUBREAPER" in environ
        self.warn_on_reap = False
        self.parent_death_signal = 0
        self.expected: set[int] = set()
        try:
            self.verbosity = int(environ.get("TINI_VERBOSITY", "1"))
        except ValueError:
            self.verbosity = 0  # as atoi(3), which tini uses
        self.command: tuple[str, ...] = ()

    def parse(self, argv: list[str]) -> None:
        """Parse options up to `--` or the first word that is not one. Raises UsageError."""
        at = 0
        while at < len(argv):
            word = argv[at]
            if word == "--":
                at += 1
                break
            if len(word) < 2 or word[0] != "-":
                break
            at += 1
            letters = word[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter == "g":
                    self.group = True
                elif letter == "s":
                    self.subreaper = True
                elif letter == "v":
                    self.verbosity += 1
                elif letter == "w":
                    self.warn_on_reap = True
                elif letter in "pe":
                    if not letters:
                        if at >= len(argv):
                            raise UsageError(f"-{letter} needs a value")
                        letters = argv[at]
                        at += 1
                    self._value(letter, letters)
                    letters = ""
                else:
                    raise UsageError(f"unknown option -{letter}")
        self.command = tuple(argv[at:])
        if not self.command:
            raise UsageError("no command given")

    def _value(self, letter: str, value: str) -> None:
        if letter == "p":
            try:
                self.parent_death_signal = signals.parse_signal(value)
            except ValueError as error:
                raise UsageError(f"-p {value}: {error}") from None
        elif value.isascii() and value.isdigit() and int(value) <= 255:
            self.expected.add(int(value))
        else:
            raise UsageError(f"-e {value}: not an exit code (0 to 255)")


def main(argv: list[str], boot_signals: Sequence[int] = ()) -> int:
    """Run the command of `argv`; returns its exit code, or 128 + n.

    `boot_signals`: signals received earlier. A stop among them ends the run before anything is
    started; the others are forwarded.
    """
    ignored = signals.ignored()
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _AWAITED)
    options = Options(os.environ)  # type: ignore[arg-type]  # os._Environ is as good
    try:
        options.parse(argv)
    except UsageError as error:
        _say(f"pyinit: {error}\n{USAGE}")
        return USAGE_ERROR
    for number in boot_signals:
        if number in signals.STOPS:
            return 128 + number
    command = Command(options)
    if not command.prepare():
        return 1
    from entrypoint.kernel import process

    request = process.SpawnRequest(
        options.command,
        dict(os.environ),
        foreground=command.in_foreground(),
        ignored=ignored,
        mask=tuple(int(number) for number in mask),
        own_pid=tuple(name for name in _PIDS if os.environ.get(name) == str(command.pid)),
        close_others=False,
    )
    try:
        command.child = process.fork_child(request, _failed)
    except OSError as error:
        from entrypoint.kernel import limits

        _say(f"pyinit: cannot start {options.command[0]}: {limits.explain(error)}")
        return 126
    command.log(2, f"started {options.command[0]!r} with pid {command.child}")
    for number in boot_signals:
        command.forward(number)
    code = command.run()
    command.take_terminal()
    return 0 if code in options.expected else code


def _failed(stage: str, number: int, detail: str) -> None:
    """In the child: report the error and exit as a shell would."""
    from entrypoint.kernel.child_report import SpawnFailed

    failure = SpawnFailed(stage, number, detail)
    _say(f"pyinit: {failure.text}")
    os._exit(failure.exit_code)


def _say(text: str) -> None:
    try:
        os.write(2, f"{text}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        pass  # stderr has no reader any more


class Command:
    """The one child, and the operations on it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.pid = os.getpid()
        self.child = 0
        self.code: int | None = None
        # The init of a namespace cannot be stopped (SIGNAL_UNKILLABLE), others stop
        # together with their child.
        self.may_stop = self.pid != 1
        self.stopped = False
        # Continues pyinit with its child (job_control.py).
        self.helper = 0

    def log(self, level: int, text: str) -> None:
        """Print a message at tini's level: 1 warnings (default), 2 info, 3 debug."""
        if self.options.verbosity >= level:
            word = ("WARN ", "INFO ", "DEBUG")[level - 1]
            _say(f"[{word} pyinit ({self.pid})] {text}")

    # -- before the child ---------------------------------------------------------------

    def prepare(self) -> bool:
        """Apply the requested prctl(2) settings; False if the kernel refuses one."""
        wanted = self.options.subreaper or self.options.parent_death_signal
        if not wanted and self.pid == 1:
            return True
        from entrypoint.kernel import prctl

        try:
            if self.options.parent_death_signal:
                prctl.set_parent_death_signal(self.options.parent_death_signal)
            if self.options.subreaper:
                prctl.set_child_subreaper()
            elif self.pid != 1 and not prctl.is_child_subreaper():
                self.log(1, _REAPER_WARNING)
        except prctl.PrctlMissingError as error:
            self.log(1, str(error))
        except OSError as error:
            _say(f"pyinit: prctl: {error.strerror}")
            return False
        return True

    @staticmethod
    def in_foreground() -> bool:
        """Whether pyinit's group is in the foreground of the terminal on descriptor 0.

        Inside a PID namespace whose terminal belongs to an outer one both numbers are 0.
        """
        try:
            return os.tcgetpgrp(0) == os.getpgrp()
        except OSError:
            return False

    # -- its life -------------------------------------------------------------------------

    def run(self) -> int:
        """Forward signals and reap until the child has ended; returns its exit code."""
        wait = _signal.sigwaitinfo
        while self.code is None:
            info = wait(_AWAITED)
            if info.si_signo != signals.SIGCHLD:
                self.take(info)
            elif self.reap():
                # An orphan seldom comes alone: let several accumulate instead of waking up
                # for each. Signals are handled at once all the same, however many come.
                until = time.monotonic() + GATHER
                while (left := until - time.monotonic()) > 0:
                    more = _signal.sigtimedwait(_BUT_SIGCHLD, left)
                    if more is not None:
                        self.take(more)
        self.end_helper()
        if self.options.group:
            self.finish_group()
        return self.code

    def take(self, info: _signal.struct_siginfo) -> None:
        """Handle one signal."""
        number = info.si_signo
        if number == signals.SIGCHLD:
            self.reap()
        elif info.si_pid == self.pid and number in (signals.SIGPIPE, signals.SIGXFSZ):
            pass  # raised by pyinit's own write to a closed stderr
        else:
            self.log(3, f"passing {signals.name_of(number)}")
            self.forward(number)
            if self.may_stop and number in signals.SUSPENDS:
                self.stop_too()

    def forward(self, number: int) -> None:
        """Send the signal to the child, or to its group with `-g`."""
        from entrypoint.kernel.kill import send_signal

        # A group that Ctrl-Z has stopped is continued as a group.
        group = self.options.group
        if number == signals.SIGCONT and self.stopped:
            self.stopped = False
            self.end_helper()
            group = True
            if self.in_foreground():
                self.give_terminal(self.child)
        try:
            if not send_signal(self.child, number, group):
                self.log(1, "the child was dead when its signal was forwarded")
        except PermissionError:
            self.log(1, f"{signals.name_of(number)}: the child runs as another user")

    def reap(self) -> bool:
        """Reap all ended children; note the child's end and its stop. True: orphans only."""
        flags = os.WNOHANG | (os.WUNTRACED if self.may_stop else 0)
        # With -w each orphan is reported, by its pid.
        known = None if self.options.warn_on_reap else (self.child, self.helper)
        found = 0
        while True:
            began = time.monotonic()
            ended, orphans = reap.reap(known, flags)
            count = orphans + len(ended)
            # Now, because stopping with the child takes as long as that does.
            more = reap.may_be_more(count, began)
            for pid, status in ended:
                if pid == self.child and self.code is None:
                    if os.WIFSTOPPED(status):
                        self.child_stopped(os.WSTOPSIG(status))
                    else:
                        self.code = reap.exit_code(status)
                        self.log(2, f"the child ended with exit code {self.code}")
                elif pid == self.helper:
                    self.helper = 0
                elif self.options.warn_on_reap and not os.WIFSTOPPED(status):
                    self.log(1, f"Reaped zombie process with pid={pid}")
            found += count
            if not more:
                return found > 0 and self.code is None and not self.stopped

    # -- the terminal ---------------------------------------------------------------------

    def child_stopped(self, number: int) -> None:
        """Handle a stopped child: a shell that watches the job has to see the stop."""
        from entrypoint.kernel import job_control

        if job_control.is_watched() and job_control.is_stop_of_the_job(number, self.child):
            self.stop_too(child_is=True)

    def stop_too(self, *, child_is: bool = False) -> None:
        """Stop like the child, so that the shell that started pyinit takes over.

        `child_is`: the child is known to be stopped; otherwise it may catch the signal.
        """
        from entrypoint.kernel import job_control

        if not self.stopped:
            self.stopped = True
            self.helper = job_control.stop(self.child, stopped=child_is)

    def end_helper(self) -> None:
        """End the helper: pyinit runs again."""
        if self.helper:
            os.kill(self.helper, signals.SIGKILL)

    @staticmethod
    def give_terminal(group: int) -> None:
        """Make `group` the terminal's foreground; possible because SIGTTOU is blocked."""
        try:
            os.tcsetpgrp(0, group)
        except (OSError, ValueError):
            pass  # no terminal, or not pyinit's

    def take_terminal(self) -> None:
        """Take the foreground back from a child that has ended.

        Otherwise a script that continues after pyinit would be stopped when it reads (SIGTTIN).
        """
        if not self.may_stop:
            return
        try:
            if os.tcgetpgrp(0) == self.child:
                self.give_terminal(os.getpgrp())
        except OSError:
            pass

    # -- after the child ------------------------------------------------------------------

    def finish_group(self) -> None:
        """Send SIGTERM to the rest of the group and wait; SIGKILL at the deadline or by Ctrl-C."""
        from entrypoint.kernel.kill import group_exists

        if not group_exists(self.child):
            return
        self.to_group(signals.SIGTERM)
        self.to_group(signals.SIGCONT)
        begun = time.monotonic()
        deadline = begun + GROUP_TIMEOUT
        # Members that are not our children (outside PID 1, no subreaper) end without a
        # SIGCHLD: look for them.
        while group_exists(self.child) and (left := deadline - time.monotonic()) > 0:
            info = _signal.sigtimedwait(_AWAITED, min(left, 0.1))
            if info is None:
                continue
            late = time.monotonic() - begun >= HURRY_AGAIN
            if info.si_signo in HURRYING and late:
                break
            if info.si_signo == signals.SIGCHLD:
                self.reap()
            else:
                self.to_group(info.si_signo)
        self.to_group(signals.SIGKILL)

    def to_group(self, number: int) -> None:
        """Signal the rest of the group, if there is any."""
        from entrypoint.kernel.kill import send_signal

        try:
            send_signal(self.child, number, group=True)
        except PermissionError:
            pass  # it runs as another user; the end of the namespace kills it
