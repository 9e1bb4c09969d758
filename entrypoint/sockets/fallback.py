"""How declared addresses work if no filter can be installed on workers.

gVisor has no user notification, and a seccomp profile may refuse seccomp(2) itself. Then
a program that binds its own port would find it in use by pyinit. What still works:

- a Node program gets the port over Node's cluster protocol, also in fork mode;
- a program that gets its descriptor (`{fd}`, `handoff: fds`) has the port;
- in any other case a single worker binds the address itself, as without pyinit: pyinit does
  not bind it, so connections are refused while the worker is away, and a reload is a restart;
- several such workers cannot share a port: that is reported.
"""

from __future__ import annotations

from .node_protocol import is_launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.core.spec import AppSpec, Plan


def adapt(plan: Plan, refusal: Callable[[], str]) -> tuple[Plan, tuple[str, ...]]:
    """The plan as it can run here, and sentences about the changes.

    `refusal()` returns why there can be no filter, "" if there can be one; it is called
    only if an app depends on the answer.
    """
    if not any(_depends(spec) for spec in plan.apps):
        return plan, ()
    reason = refusal()
    if not reason:
        return plan, ()
    adapted, said = [], []
    for spec in plan.apps:
        spec_here, sentence = _without_filter(spec) if _depends(spec) else (spec, "")
        adapted.append(spec_here)
        if sentence:
            said.append(f"{spec.name}: no interception here ({reason}); {sentence}")
    return plan.replace(apps=tuple(adapted)), tuple(said)


def _depends(spec: AppSpec) -> bool:
    """Whether its workers bind an address that pyinit holds."""
    if spec.handoff not in ("auto", "intercept") or not spec.listen or spec.share == "none":
        return False
    if any("{fd}" in text for text in (*spec.command, *(value for _, value in spec.env))):
        return False
    return not (_speaks(spec) and spec.exec_mode == "cluster")


def _speaks(spec: AppSpec) -> bool:
    return spec.node and spec.handoff == "auto" and not is_launcher(spec.command)


def _without_filter(spec: AppSpec) -> tuple[AppSpec, str]:
    if _speaks(spec):
        return spec.replace(handoff="node"), ""
    addresses = ", ".join(listen.text for listen in spec.listen)
    if spec.instances > 1:
        advice = "pass {fd}, say handoff: fds if it takes LISTEN_FDS, or have one instance"
        return spec, f"workers that bind {addresses} themselves find it in use: {advice}"
    port = next((str(listen.port) for listen in spec.listen if listen.port), "")
    left = spec.replace(
        listen=(),
        share="none",
        command=tuple(word.replace("{port}", port) for word in spec.command),
        env=tuple((name, value.replace("{port}", port)) for name, value in spec.env),
    )
    return left, (
        f"{addresses} is left for its worker to bind, and reloads are restarts "
        "(handoff: fds keeps it, for one that takes descriptors)"
    )
