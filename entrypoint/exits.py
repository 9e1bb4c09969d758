"""What a person needs to know when a worker has ended, beyond its exit code."""

from __future__ import annotations

import os

from .kernel import oom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .logs.pump import LogPump

# Kubernetes shows this file's text as the reason of the container's end (at most 4 KiB;
# terminationMessagePath, mounted into each container).
TERMINATION_LOG = "/dev/termination-log"
TERMINATION_LIMIT = 4096


class Exits:
    """Last words, the kernel's part in it, and the container's own last word."""

    def __init__(self, pump: LogPump) -> None:
        self._pump = pump
        self._oom_kills = oom.oom_kills()
        self._last = ""

    def explain(self, fields: dict[str, object]) -> dict[str, object]:
        """The fields of an exit event, with what else is known; `incarnation` is dropped.

        Nothing is added for an exit that was asked for.
        """
        incarnation = fields.pop("incarnation", 0)
        if fields.get("expected") or fields.get("exit_code") == 0:
            return fields
        if fields.get("signal") == "SIGKILL":
            kills = oom.oom_kills()
            if kills is not None and self._oom_kills is not None and kills > self._oom_kills:
                fields["oom_killed"] = True
            self._oom_kills = kills
        lines = self._pump.last_lines(incarnation) if isinstance(incarnation, int) else ()
        if lines:
            fields["last_lines"] = list(lines)
        self._last = _sentence(fields, lines)
        return fields

    def tell_orchestrator(self, path: str = TERMINATION_LOG) -> None:
        """Write why the container ends where Kubernetes looks for it, if it does."""
        if not self._last or not os.path.exists(path):
            return
        try:
            fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return  # not ours to write: the log has it as well
        try:
            os.write(fd, self._last.encode("utf-8", "replace")[:TERMINATION_LIMIT])
        except OSError:
            return
        finally:
            os.close(fd)


def _sentence(fields: dict[str, object], lines: tuple[str, ...]) -> str:
    if fields.get("oom_killed"):
        how = "killed by SIGKILL: out of memory"
    elif "signal" in fields:
        how = f"killed by {fields['signal']}"
    elif "exit_code" in fields:
        how = f"exit code {fields['exit_code']}"
    else:
        how = str(fields.get("reason", "failed to start"))
    head = f"{fields.get('app')} (instance {fields.get('instance')}): {how}"
    return "\n".join((head, *lines)) + "\n"
