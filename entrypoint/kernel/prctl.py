"""prctl(2) through python-prctl, imported late and only if needed.

PID 1 of a container needs none of it: orphans become its children by themselves, and when it
dies the kernel kills the rest. Elsewhere (a terminal, `shareProcessNamespace`) pyinit
becomes a child subreaper, and its workers get a parent-death signal.

The C half of python-prctl (`_prctl`) is called directly: 0.4 ms to import, the Python
half on top of it 2 ms more.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


class PrctlMissingError(Exception):
    """python-prctl cannot be imported; `str()` is a sentence that says what does not work."""


_module: ModuleType | None = None


def load() -> ModuleType:
    """Import python-prctl, before a fork and not after it. Raises PrctlMissingError."""
    global _module  # noqa: PLW0603  an import, remembered
    if _module is None:
        try:
            _module = _import()
        except ImportError as error:
            raise PrctlMissingError(
                f"python-prctl cannot be imported ({error}): without it pyinit is no child "
                "subreaper, and its processes outlive it when it is killed"
            ) from error
    return _module


def _import() -> ModuleType:
    try:
        import _prctl
    except ModuleNotFoundError:
        # Wheels bring a compiled copy; the `_prctl` of an installed python-prctl comes first.
        from . import _prctl  # type: ignore[attr-defined,no-redef,unused-ignore]
    return _prctl  # type: ignore[no-any-return,unused-ignore]


def set_child_subreaper() -> None:
    """Become the parent of orphans below this process (PR_SET_CHILD_SUBREAPER).

    Raises PrctlMissingError, or OSError from the kernel.
    """
    module = load()
    module.prctl(module.PR_SET_CHILD_SUBREAPER, 1)


def is_child_subreaper() -> bool:
    """Whether this process is a subreaper. Raises PrctlMissingError, or OSError from the kernel."""
    module = load()
    return bool(module.prctl(module.PR_GET_CHILD_SUBREAPER))


def set_parent_death_signal(number: int) -> None:
    """Make the kernel send `number` to this process when its parent ends.

    The kernel clears it when the process changes its user or group, or executes a
    set-user-ID program (`PR_SET_PDEATHSIG(2const)`): call it after setuid.
    Raises PrctlMissingError, or OSError from the kernel.
    """
    module = load()
    module.prctl(module.PR_SET_PDEATHSIG, number)
