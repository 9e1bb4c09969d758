"""What a bind means if its worker already serves and no file declares the address.

All workers of a cluster program bind the same addresses, one after the other, and share them. But
a program may also bind a port for one transfer (passive FTP, RTP, a debugger): then a sibling that
tries the same port has to find it in use, as without pyinit. The two binds look alike. The
difference is that a one-time port is closed while its worker continues to serve.

- Until that was seen, siblings share what both bind. For `NEWEST_FIRST` after a ready worker has
  listened there, its siblings get no connections of that address: a client that was given the port
  connects at once.
- After it was seen, an address is shared if siblings share it already, or if it looks like a part
  of the program's start: its holder bound it shortly after its first address and still has it, and
  the caller has also just begun to serve.
- A worker that listens on the address already, on another socket, finds it in use.

With SO_REUSEPORT on its own socket a program shares the address in any case.
"""

from __future__ import annotations

from .claims import UNUSED_AFTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .address import Address
    from .claims import Claim, Claims

# How long a ready worker that listens beside siblings gets all connections there (s).
NEWEST_FIRST = 0.5


def rivals(claims: Claims, address: Address, slot: int) -> tuple[Claim, ...]:
    """Live workers of other slots that certainly hold this address and are not being stopped."""
    return tuple(
        claim
        for claim in claims
        if claim.address is address
        and claim.slot != slot
        and not claims.is_leaving(claim.incarnation)
        and claims.holds(claim)
    )


def is_taken(
    claims: Claims,
    address: Address,
    incarnation: int,
    *,
    one_time: bool,
    reuses: Callable[[], bool | None],
    now: float,
) -> bool:
    """Whether this worker, which already serves, has to find the address in use.

    `one_time`: a worker of the app has closed such an address and continued to serve. `reuses`
    reads SO_REUSEPORT of the worker's socket, None if it cannot be known.
    """
    own = claims.of(incarnation)
    if any(claim.address is address and claim.listens and claims.holds(claim) for claim in own):
        return reuses() is False and not claims.is_leaving(incarnation)
    if not one_time or not address.late or reuses():
        return False
    others = rivals(claims, address, own[0].slot)
    if not others or len({claim.slot for claim in others}) > 1:
        return False
    if now - _served_from(claims, incarnation) > UNUSED_AFTER:
        return True
    return any(
        now - claim.since <= UNUSED_AFTER
        or claim.since - _served_from(claims, claim.incarnation) > UNUSED_AFTER
        for claim in others
    )


def _served_from(claims: Claims, incarnation: int) -> float:
    """When the worker began to listen on the first of its addresses."""
    return min(claim.since for claim in claims.of(incarnation) if claim.listens)
