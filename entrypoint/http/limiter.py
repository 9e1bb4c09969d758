"""How many clients there may be, and which of them has to go for another one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Client(Protocol):
        """What the limiter needs of a client."""

        idle: bool
        # It has asked and its answer is being made: that it takes long is not its fault.
        awaiting: bool

        @property
        def pending(self) -> int:
            """Bytes of an answer that wait to be taken."""

        @property
        def body(self) -> bytes:
            """What of them others may have to take too; empty: nothing."""

        def close(self) -> None:
            """Close the connection and call `forget`."""


# Bytes of answers, of all clients of a limiter together, that wait to be read.
PENDING_LIMIT = 1 << 20


class ConnectionLimiter:
    """Clients of one or more listeners, oldest first, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.clients: dict[Client, None] = {}
        self.evicted = 0

    def admit(self, client: Client) -> None:
        """Take a new client in; another one goes when there are too many."""
        self.clients[client] = None
        if len(self.clients) > self.limit:
            self.evict(but=client)

    def forget(self, client: Client) -> None:
        """A client is gone."""
        self.clients.pop(client, None)

    def evict(self, but: Client | None = None) -> bool:
        """Close the oldest idle client, else the oldest that we wait for, else the oldest.

        Never `but`, the new one. False when there is no other.
        """
        slow = oldest = None
        for client in self.clients:
            if client is but:
                continue
            if client.idle:
                break
            oldest = oldest or client
            if not client.awaiting:
                slow = slow or client
        else:
            found = slow or oldest
            if found is None:
                return False
            client = found
        self.evicted += 1
        client.close()
        return True

    def relieve(self) -> None:
        """Close the oldest clients that do not take their answers, if they hold much.

        One is left in peace, however big its answer is.
        """
        waiting = [client for client in self.clients if client.pending]
        while len(waiting) > 1 and _pending_bytes(waiting) > PENDING_LIMIT:
            self.evicted += 1
            waiting.pop(0).close()

    def close(self) -> None:
        """Close every client."""
        for client in tuple(self.clients):
            client.close()


def _pending_bytes(clients: list[Client]) -> int:
    """Bytes in memory for what they have to take; a body that they share counts once."""
    shared = {id(client.body): len(client.body) for client in clients if client.body}
    return sum(client.pending for client in clients if not client.body) + sum(shared.values())
