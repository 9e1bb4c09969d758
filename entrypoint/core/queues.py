"""Which accept queue a worker uses if a release shares one (`share: generations`).

A worker that blocks accepts its next connection when it is done with the last one. With one queue
for all of them no connection waits behind a busy worker while another is idle. But a single worker
cannot be kept from its queue: its siblings accept from it too. So the next release gets another
queue, and while an old worker retires all new connections go to that one.

::

    queue 0: ● ● ● ●      queue 0:   ● ● ●      queue 0:       ●      queue 0:
    queue 1:              queue 1: ○            queue 1: ○ ○ ○        queue 1: ○ ○ ○ ○

New connections are divided by the number of workers at each queue. The replacement of a single
worker, in a repair, gets another queue as well: the one that the rest of its release has, or a
free one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec
    from .transaction import Transaction
    from .worker import Instance, Worker


def shares_queue(spec: AppSpec) -> bool:
    """Whether the workers of a release share one accept queue."""
    return spec.share == "generations"


def for_worker(
    tx: Transaction, instance: Instance, spec: AppSpec, slot: int, *, successor: bool
) -> int:
    """The queue of a worker that starts now (`Worker.shared_queue`)."""
    crew = tx.workers(instance.app)
    if not shares_queue(spec):
        # The file had `generations` before: that number may be a queue of workers that still run.
        taken = spec.share == "slots" and slot in {each.shared_queue for each in crew}
        return _free(tx, instance) if taken else -1
    if successor:
        return _of_successor(tx, instance, spec, crew)
    if instance.shared_queue >= 0:
        return instance.shared_queue
    alike = [each for each in crew if each.spec == spec and not each.stop_reason]
    return _most(alike) if any(each.shared_queue >= 0 for each in alike) else _free(tx, instance)


def _of_successor(tx: Transaction, instance: Instance, spec: AppSpec, crew: list[Worker]) -> int:
    reload = tx.the_app(instance.app).reload
    fresh = reload.fresh if reload is not None else ()
    repairs = reload is not None and instance.number in reload.repairs
    current = tx.worker(instance.current)
    own = current.queue if current is not None else instance.queue
    release = [
        each
        for each in crew
        if each.spec == spec
        and not each.stop_reason
        and each.queue != own
        and (repairs or each.incarnation in fresh)
    ]
    return (
        _most(release) if any(each.shared_queue >= 0 for each in release) else _free(tx, instance)
    )


def _most(workers: list[Worker]) -> int:
    """The queue that most of them share; the lower one of two equals."""
    queues = sorted(each.shared_queue for each in workers if each.shared_queue >= 0)
    return max(queues, key=queues.count)


def _free(tx: Transaction, instance: Instance) -> int:
    """The lowest unused number."""
    others = [e for e in tx.instances(instance.app) if e.number != instance.number or e.current]
    used = {each.queue for each in tx.workers(instance.app)}
    used.update(each.queue for each in others)
    return next(number for number in range(len(used) + 1) if number not in used)


def is_used(tx: Transaction, app: str, queue: int) -> bool:
    """Whether a worker accepts there or will be started there again."""
    # Without `Worker.queue`: this is asked for each worker that ends, of all others.
    crew = tx.workers(app)
    if queue in {e.slot if e.shared_queue < 0 else e.shared_queue for e in crew}:
        return True
    return any(each.queue == queue for each in tx.instances(app))
