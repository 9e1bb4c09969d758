"""Starts a process: fork with everything that a worker needs set, then exec.

The steps between fork and exec, in this order, with the reason for the order:

1. All signals are blocked before fork and until just before exec. A signal for the
   child waits; it can neither run a handler of pyinit's in the child nor get lost.
2. Handlers go back to the default, SIGPIPE and SIGXFSZ too, which Python ignores (an
   ignored signal stays ignored across exec(2)).
3. Session or process group, the terminal's foreground: SIGTTOU is still blocked.
4. nice, descriptors and limits, as pyinit's own user, which may raise what others may not.
   Sources are moved out of the way first, so that a target may be another's source.
5. groups, gid, uid; then umask, chdir as the worker's user, which may not be allowed to
   enter a folder that root may.
6. Parent-death signal: the kernel clears it when the user changes, so after that. Then
   the commands of `before_start`.
7. The seccomp filter, last of all: the earlier steps then need no permission of its own.
8. The mask, and exec.

A failure is reported as its stage and errno over a close-on-exec channel; so is the call of
exec. End of file after that, without a failure, means that it has succeeded; before
it, that the child was killed on the way.
"""

from __future__ import annotations

import errno
import gc
import os

from entrypoint.core.record import Record

from . import limits, signals
from .execute import ExecError, execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Sequence

    from .child_report import Reporter

    # Called in the child with stage, errno and detail. It need not return.
    Report = Callable[[str, int, str], None]
else:
    import _signal

# No descriptor of pyinit is that high; without close_range(2) each number costs a syscall.
_HIGHEST_FD = 65536

# Not empty once the objects from before the first fork are frozen.
_frozen: list[bool] = []


class SpawnRequest(Record):
    """A process to start. Descriptors remain the caller's, which closes them afterwards.

    `argv[0]` is looked up in the PATH of `env` when it has no slash. None keeps what
    pyinit has. `groups` None means those of `user`, by default of the name that `uid` has, by
    initgroups(3), or, for a user without a name, `gid` alone. `keep_fds` are (descriptor, its
    number in the child).
    `own_pid` are variables that hold the child's pid (LISTEN_PID, WATCHDOG_PID).
    `before` are commands that run first, in the child, for at most `before_timeout` seconds.
    `ignored` are signals left ignored, `mask` those left blocked. `filter_calls` are the
    system calls that the seccomp filter reports (`bpf.interception`); () for the usual ones.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str = ""
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None
    user: str = ""
    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    keep_fds: tuple[tuple[int, int], ...] = ()
    own_pid: tuple[str, ...] = ()
    new_group: bool = True
    new_session: bool = False
    foreground: bool = False
    controlling: bool = False  # descriptor 0 becomes the session's controlling terminal
    parent_death_signal: int = 0
    install_filter: bool = False
    filter_calls: tuple[str, ...] = ()
    umask: int | None = None
    nice: int = 0
    rlimits: tuple[tuple[str, int, int], ...] = ()
    limit_mark: int = 0  # kernel/tree.py
    oom_score_adj: int | None = None
    # The same if the kernel allows it, when there is no `oom_score_adj`.
    oom_score_wish: int | None = None
    before: tuple[tuple[str, ...], ...] = ()
    before_timeout: float = 0.0
    ignored: tuple[int, ...] = ()
    mask: tuple[int, ...] = ()
    close_others: bool = True


class Child(Record):
    """A forked process and the parent's end of its channel (non-blocking; the caller closes it)."""

    pid: int
    channel: int


def fork_child(request: SpawnRequest, report: Report, channel: Reporter | None = None) -> int:
    """Fork and, in the child, set up and exec `request`; returns the child's pid in the parent.

    `report` is called in the child if it fails, which then exits with 127. `channel` is
    the same where it has a descriptor, which stays open until exec. Raises OSError when
    fork(2) fails (EAGAIN: a `pids` limit), ValueError if two descriptors want the same
    number.
    """
    moves = _moves(request)
    parent = os.getpid()
    if not _frozen:
        # Objects made so far live forever: a collection in any process then leaves
        # their pages shared. (`gc.get_freeze_count` would count them all, each time.)
        gc.freeze()
        _frozen.append(True)
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, signals.ALL)
    try:
        pid = os.fork()
        if pid == 0:
            _become(request, moves, parent, report, channel)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    if request.new_group and not request.new_session:
        # In both processes: whichever is first, no signal goes to a group that does not exist.
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass  # EACCES after its exec, ESRCH after its end: it has done so itself
    return pid


def spawn(request: SpawnRequest) -> Child:
    """Start a process; `child_report` reads how far it came. Errors as `fork_child`."""
    import _socket

    from .child_report import Reporter

    if request.install_filter:
        from .seccomp import preload

        preload()  # here, so that no child has to import
    if request.controlling:
        from . import terminal  # noqa: F401  likewise
    if request.parent_death_signal:
        from . import prctl

        try:
            prctl.load()
        except prctl.PrctlMissingError:  # reported once at boot; the start continues without
            request = request.replace(parent_death_signal=0)
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        reporter = Reporter(theirs)  # type: ignore[arg-type]
        pid = fork_child(request, reporter, reporter)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    return Child(pid, ours.detach())


def _moves(request: SpawnRequest) -> dict[int, int]:
    """Target number → source descriptor."""
    moves: dict[int, int] = {}
    standard = ((request.stdin, 0), (request.stdout, 1), (request.stderr, 2))
    for source, target in (*standard, *request.keep_fds):
        if source is None:
            continue
        if target in moves:
            raise ValueError(f"two descriptors for number {target}")
        moves[target] = source
    return moves


def _become(
    request: SpawnRequest,
    moves: dict[int, int],
    parent: int,
    report: Report,
    channel: Reporter | None,
) -> None:
    """The child's whole life until exec. Never returns."""
    stage = "fork"
    keep = channel.fileno() if channel is not None else -1
    try:
        gc.disable()
        _signal.set_wakeup_fd(-1)
        stage = "signals"
        _reset_handlers(request.ignored)
        stage = "setsid" if request.new_session else "setpgid"
        if request.new_session:
            os.setsid()
        elif request.new_group:
            os.setpgid(0, 0)
        if request.foreground:
            _take_foreground()
        if request.nice:
            stage = "nice"
            os.nice(request.nice)
        stage = "descriptors"
        if moves:
            keep = _move(moves, keep)
            if channel is not None:
                channel.reopen(keep)
        if request.close_others:
            _close_others(moves, keep)
        if request.controlling:
            from . import terminal

            stage = "tty"
            terminal.control(0)
        stage = "limits"
        limits.restore_open_files()
        stage = "rlimits"
        if request.limit_mark:
            limits.mark(request.limit_mark)
        limits.apply(request.rlimits)
        if request.oom_score_adj is not None:
            stage = "oom_score_adj"
            _set_oom_score_adj(request.oom_score_adj)
        elif request.oom_score_wish is not None:
            try:
                _set_oom_score_adj(request.oom_score_wish)
            except OSError:
                pass  # no /proc, or a read-only one
        for name, step in _identity(request):
            stage = name
            step()
        if request.umask is not None:
            os.umask(request.umask)
        if request.cwd:
            stage = "chdir"
            os.chdir(request.cwd)
        if request.parent_death_signal:
            from . import prctl

            stage = "prctl"
            prctl.set_parent_death_signal(request.parent_death_signal)
            if os.getppid() != parent:
                # It ended before the kernel was asked to signal. (0: outside this
                # namespace, which no parent of ours is.)
                os._exit(128 + request.parent_death_signal)
        if request.before:
            stage = "before_start"
            _run_before(request, report)
        for name in request.own_pid:
            request.env[name] = str(os.getpid())
        if request.install_filter and channel is not None:
            _filter(channel, request.filter_calls)
        stage = "exec"
        _signal.pthread_sigmask(_signal.SIG_SETMASK, request.mask)
        if channel is not None:
            # After the mask: a signal that waited for that ends a child which never ran.
            channel.executing()
        execute(request.argv, request.env)
    except ExecError as error:
        detail = f"{error.filename}: {error.detail}" if error.detail else str(error.filename)
        report(stage, error.errno or errno.EINVAL, detail)
    except OSError as error:
        detail = request.cwd if stage == "chdir" else getattr(error, "detail", "")
        report(stage, error.errno or errno.EINVAL, detail)
    except BaseException as error:  # noqa: BLE001  nothing may escape into pyinit's loop
        report(stage, errno.EINVAL, f"{type(error).__name__}: {error}")
    finally:
        os._exit(127)


def _run_before(request: SpawnRequest, report: Report) -> None:
    from . import before

    try:
        before.run_all(request.before, request.env, request.before_timeout, request.mask)
    except before.CommandFailed as error:
        report("before_start", 0, str(error))
        os._exit(127)


def _set_oom_score_adj(value: int) -> None:
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    except PermissionError:
        raise limits.LimitError(
            errno.EACCES, f"{value} is below that of pyinit, which needs CAP_SYS_RESOURCE"
        ) from None
    finally:
        os.close(fd)


def _reset_handlers(ignored: tuple[int, ...]) -> None:
    get = _signal.getsignal
    for number in signals.ALL:
        if number in (signals.SIGKILL, signals.SIGSTOP):
            continue
        wanted = _signal.SIG_IGN if number in ignored else _signal.SIG_DFL
        if get(number) != wanted:
            _signal.signal(number, wanted)


def _take_foreground() -> None:
    """Give the terminal on descriptor 0 to this process group, if there is one."""
    try:
        os.tcsetpgrp(0, os.getpgrp())
    except OSError:
        pass  # ENOTTY, ENXIO: no terminal, or not pyinit's. tini continues as well.


def _move(moves: dict[int, int], keep: int) -> int:
    """Put each source at its target; returns the new number of `keep`, which was moved away."""
    import fcntl

    above = max(3, *(target + 1 for target in moves))
    sources = dict(moves)
    for target, source in moves.items():
        # Only a source whose number is another's target has to move first.
        if source != target and source in moves:
            sources[target] = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, above)
    if keep in moves:
        keep = fcntl.fcntl(keep, fcntl.F_DUPFD_CLOEXEC, above)
    for target, source in sources.items():
        if source == target:
            os.set_inheritable(target, True)
        else:
            os.dup2(source, target, inheritable=True)
    return keep


def _close_others(moves: dict[int, int], keep: int) -> None:
    """Close every descriptor that is not meant for the program.

    pyinit's are close-on-exec; this is for those that pyinit inherited.
    """
    low = 3
    for fd in sorted({*moves, keep}):
        if fd >= low:
            os.closerange(low, fd)
            low = fd + 1
    os.closerange(low, _HIGHEST_FD)


def _identity(request: SpawnRequest) -> Sequence[tuple[str, Callable[[], None]]]:
    """The steps that change user and groups, none if they are pyinit's already."""
    uid, gid, groups = request.uid, request.gid, request.groups
    user = os.geteuid()
    if groups is None and uid in (None, user) and gid in (None, os.getegid()):
        # Root without CAP_SETGID (`--cap-drop ALL`) may request to be root.
        return ()
    steps: list[tuple[str, Callable[[], None]]] = []

    def set_groups() -> None:
        try:
            if groups is not None:
                os.setgroups(groups)
            elif gid is not None and (name := request.user or _name_of(uid)):
                os.initgroups(name, gid)
            else:
                os.setgroups(() if gid is None else (gid,))
        except PermissionError:
            if user == 0:
                raise
            # Without privilege the groups stay as they are; setgid and setuid decide.

    steps.append(("setgroups", set_groups))
    if gid is not None:
        steps.append(("setgid", lambda: os.setresgid(gid, gid, gid)))
    if uid is not None:
        steps.append(("setuid", lambda: os.setresuid(uid, uid, uid)))
    return steps


def _name_of(uid: int | None) -> str:
    """The name of a user; "" for one without. In the child: NSS may ask the network."""
    if uid is None:
        return ""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _filter(report: Reporter, calls: tuple[str, ...]) -> None:
    from .seccomp import install_filter

    try:
        notifier = install_filter(calls) if calls else install_filter()
    except OSError as error:
        report("refused", error.errno or errno.ENOSYS, "")
        return
    report.filter_installed(notifier)
    os.close(notifier)
