"""Information about the end of a worker for people, beyond its exit code."""

from __future__ import annotations

from entrypoint.kernel import oom, termination

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.logs.pump import LogPump

# 128 + SIGKILL: what a shell or npm says when the program it waited for was killed.
_KILLED = 137


class Exits:
    """Last output lines, the kernel's part in an exit, and the termination message."""

    def __init__(self, pump: LogPump) -> None:
        self._pump = pump
        self._oom_kills = oom.oom_kills()
        self._last = ""
        # The same by app.
        self._last_of: dict[str, str] = {}
        # The app that the container ends because of, once that is known.
        self.failed = ""

    def explain(self, fields: dict[str, object], reason: str = "") -> dict[str, object]:
        """The fields of an exit event, completed; `incarnation` is removed.

        Nothing is added for an expected exit, or for exit code 0 (without a `reason`). An exit that
        pyinit caused because the worker had failed (`because`) is reported to Kubernetes.
        """
        incarnation = fields.pop("incarnation", 0)
        # Read at each exit: earlier counts belong to earlier exits.
        more_kills = self._count_kills()
        if fields.get("expected") and "because" in fields:
            lines = self._pump.last_lines(incarnation) if isinstance(incarnation, int) else ()
            self._keep(fields, str(fields["because"]), lines)
        if fields.get("expected") or (fields.get("exit_code") == 0 and not reason):
            return fields
        if reason:
            fields["reason"] = reason
        if more_kills and (fields.get("signal") == "SIGKILL" or fields.get("exit_code") == _KILLED):
            fields["oom_killed"] = True
        if "reason" not in fields:
            fields["reason"] = _how(fields)
        lines = self._pump.last_lines(incarnation) if isinstance(incarnation, int) else ()
        if lines:
            fields["last_lines"] = list(lines)
        self._keep(fields, str(fields["reason"]), lines)
        return fields

    def _keep(self, fields: dict[str, object], reason: str, lines: tuple[str, ...]) -> None:
        self._last = self._last_of[str(fields.get("app"))] = _message(fields, reason, lines)

    def _count_kills(self) -> bool:
        kills, before = oom.oom_kills(), self._oom_kills
        self._oom_kills = kills
        return kills is not None and before is not None and kills > before

    def tell_orchestrator(self, also: str = "", *, failed: bool = True) -> None:
        """Write why the container ends to the termination message of Kubernetes.

        `failed`: because of the last worker that failed, of this app if one is known.
        `also`: one more sentence.
        """
        last = self._last_of.get(self.failed, self._last) if failed else ""
        text = last + (f"{also}\n" if also else "")
        if text:
            termination.write(text.encode("utf-8", "replace"))


def _how(fields: dict[str, object]) -> str:
    """`killed by SIGSEGV (core dumped)`, `exit code 3`."""
    if "signal" in fields:
        how = f"killed by {fields['signal']}"
    else:
        how = f"exit code {fields.get('exit_code')}"
    if fields.get("oom_killed"):
        how += ": out of memory"
    if fields.get("core_dumped"):
        how += " (core dumped)"
    return how


def _message(fields: dict[str, object], reason: str, lines: tuple[str, ...]) -> str:
    """The event as a sentence, with as many of the last lines as the kubelet reads."""
    head = f"{fields.get('app')} (instance {fields.get('instance')}): {reason}"
    uptime = fields.get("uptime")
    if isinstance(uptime, float) and ("signal" in fields or "exit_code" in fields):
        head += f", after {uptime:.3g} s"
    space = termination.LIMIT - 256  # for a sentence more
    space -= len(head.encode("utf-8", "replace")) + 1
    kept: list[str] = []
    for line in reversed(lines):
        size = len(line.encode("utf-8", "replace")) + 1
        if size > space:
            break
        space -= size
        kept.append(line)
    return "\n".join((head, *reversed(kept))) + "\n"
