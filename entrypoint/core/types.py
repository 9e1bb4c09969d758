"""The string constants of the core as closed sets for the type checker.

At run time they are plain strings: PID 1 imports neither `typing` nor `enum`. A test
(tests/unit/core/test_types.py) checks that each is set somewhere, and that no other is.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    # Phases of the whole run (shutdown.py).
    Phase = Literal["booting", "running", "draining", "stopping", "finished"]

    # The wanted state of an app. `waiting`: its dependencies are not met yet.
    AppMode = Literal["waiting", "running", "stopped", "removing"]

    # State of an app's port after a user stopped the app or scaled it to 0.
    PortMode = Literal["", "refusing", "paused"]

    # State of an instance, after its last worker. `idle`: a job that has not run yet.
    InstanceState = Literal["running", "waiting restart", "stopped", "idle", "finished", "errored"]

    # States of a worker (worker.py).
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

    # Why a worker was asked to stop; "": it was not. exits.py has what follows each.
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

    # Which processes a signal to a worker reaches (`effects.SendSignal`); "": not decided yet.
    Scope = Literal["", "process", "group", "tree", "all"]

    # Which processes a stop ends with the worker (the file's `treekill`).
    TreeKill = Literal["tree", "all", "group", "none"]

    # How a worker itself reports that it is ready.
    Said = Literal["notify", "node"]
    # What observation shows that a worker is ready.
    ReadySource = Literal["notify", "node", "accept", "listen", "health", "rest", "exec"]

    # What happens to a worker that is not ready in time.
    OverdueRule = Literal["wait", "abort"]

    # Timers of one worker.
    WorkerTimer = Literal[
        "launch", "prove", "probe", "health", "watchdog", "stall", "kill", "retire", "abandon"
    ]
    # Timers of an app or of the run.
    OtherTimer = Literal["restart", "widen", "orphans", "port", "drain", "shutdown", "remaining"]
    TimerKind = WorkerTimer | OtherTimer

    # Port operations that can fail (`events.PortFailed`).
    PortOrder = Literal[
        "grow", "steer", "trim", "refuse", "pause", "resume", "relay", "free slot", "close"
    ]
