"""`memory: auto`: a worker's share of the container's memory, as settings of its runtime.

What the file or the container sets for a runtime's memory or threads is never changed.
"""

from __future__ import annotations

from entrypoint.core import budget
from entrypoint.kernel import cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.core.spec import AppSpec, Plan

    from .children import Children

# Fractions of a worker's share: V8's old space, which is only a part of a Node process; Go's soft
# limit; the JVM's heap.
NODE_HEAP = 0.75
GO_LIMIT = 0.9
JAVA_HEAP_PERCENT = 70


def share(plan: Plan, children: Children) -> int:
    """Bytes that one worker may use now; 0 if the memory is not known."""
    limit = cgroup.memory_limit()
    if limit is None:
        return 0
    return budget.share(limit, [(spec, _number(spec, children)) for spec in plan.apps])


def _number(spec: AppSpec, children: Children) -> int:
    """The number in the file, or the number set since by a user or by the CPU limit."""
    return max(spec.instances, len(children.of_app(spec.name)) - spec.surge)


def words(spec: AppSpec, env: dict[str, str], memory: int, cpus: int) -> dict[str, str]:
    """Variables for a worker with so many bytes of memory, on a machine with so many CPUs."""
    said = " ".join((*spec.command, *(env.get(name, "") for name in _OPTIONS)))
    threads = str(max(1, cpus // max(1, spec.instances)))
    found: dict[str, str] = {}
    if memory and not any(flag in said for flag in ("max-old-space-size", "max_old_space_size")):
        heap = int(memory * NODE_HEAP) // budget.MIB
        found["NODE_OPTIONS"] = _with(env, "NODE_OPTIONS", f"--max-old-space-size={heap}")
    if memory:
        found["GOMEMLIMIT"] = f"{int(memory * GO_LIMIT) // budget.MIB}MiB"
    java = []
    if memory and not any(flag in said for flag in ("-Xmx", "MaxRAM", "MaxHeapSize")):
        java += [f"-XX:MaxRAM={memory}", f"-XX:MaxRAMPercentage={JAVA_HEAP_PERCENT}"]
    if "ActiveProcessorCount" not in said:
        java.append(f"-XX:ActiveProcessorCount={threads}")
    if java:
        found["JAVA_TOOL_OPTIONS"] = _with(env, "JAVA_TOOL_OPTIONS", " ".join(java))
    found |= dict.fromkeys(("GOMAXPROCS", "OMP_NUM_THREADS"), threads)
    kept = ("GOMEMLIMIT", "GOMAXPROCS", "OMP_NUM_THREADS")
    return {name: text for name, text in found.items() if name not in kept or name not in env}


# Variables in which these runtimes take options.
_OPTIONS = ("NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "JAVA_OPTS", "_JAVA_OPTIONS")


def _with(env: dict[str, str], name: str, more: str) -> str:
    return f"{env.get(name, '')} {more}".strip()
