"""The words that the core decides by, as closed sets for the type checker.

At run time they are plain strings: PID 1 imports neither `typing` nor `enum`. That each word
is set somewhere, and no other one, is held by tests/unit/core/test_types.py.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, Never

    # The whole run (shutdown.py).
    Phase = Literal["booting", "running", "draining", "stopping", "finished"]

    # What is wanted of an app. `waiting`: its dependencies are not met yet.
    AppMode = Literal["waiting", "running", "stopped", "removing"]

    # What the port of an app does after a person stopped it or scaled it to 0.
    PortMode = Literal["", "refusing", "paused"]

    # An instance: what follows its last worker. `idle`: a job that has not run yet.
    InstanceState = Literal["running", "waiting restart", "stopped", "idle", "finished", "errored"]

    # What a worker is (worker.py).
    WorkerState = Literal[
        "launching",
        "online",
        "sick",
        "retiring",
        "terminating",
        "killing",
        "lingering",
        "gone",
    ]

    # What moves a worker from one state to another.
    Transition = Literal[
        "ready", "close", "sicken", "retire", "signal", "kill", "exit", "leader exit"
    ]

    # Why a worker was asked to stop; "": it was not. exits.py says what follows each.
    StopReason = Literal[
        "",
        "reload",
        "restart",
        "stop",
        "scale",
        "remove",
        "shutdown",
        "failed start",
        "health",
        "watchdog",
        "lost",
        "abort",
        "stalled",
        "drain",
    ]

    # What a signal to a worker reaches (`effects.SendSignal`); "": not decided yet.
    Scope = Literal["", "process", "group", "tree", "all"]

    # What a stop ends beside the worker (the file's `treekill`).
    TreeKill = Literal["tree", "all", "group", "none"]

    # By what a worker says itself that it is ready.
    Said = Literal["notify", "node"]
    # By what a worker was seen to be ready.
    ReadySource = Literal["notify", "node", "accept", "listen", "health", "rest", "exec"]

    # What becomes of a worker that is not ready in time.
    OverdueRule = Literal["wait", "abort"]

    # Deadlines of one worker.
    WorkerTimer = Literal[
        "launch", "prove", "probe", "health", "watchdog", "stall", "kill", "retire", "abandon"
    ]
    # Deadlines of an app or of the run.
    OtherTimer = Literal["restart", "widen", "orphans", "port", "drain", "shutdown", "remaining"]
    TimerKind = WorkerTimer | OtherTimer

    # Orders about a port that can fail (`events.PortFailed`).
    PortOrder = Literal[
        "grow", "steer", "trim", "refuse", "pause", "resume", "relay", "free slot", "close"
    ]


def assert_never(value: Never) -> Never:
    """Where the type checker knows that no case is left. Raises AssertionError."""
    raise AssertionError(f"no case for {value!r}")
