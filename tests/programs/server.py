"""A threaded HTTP server to reload: `server.py WHERE MANNER [mptcp]`.

WHERE is a port of 127.0.0.1, or `fd`: descriptor 3. It answers `GET /x` with `RELEASE /x`, where
RELEASE is the text of the file `release` beside it. By MANNER, at its stop signal (SIGTERM):

- `polite` closes what is idle, answers what it has read, and ends, as Go's `Shutdown` does;
- `rude` ends;
- `deaf` does nothing.

Releases with a meaning: `broken` ends at once, `slow` waits for the file `go`, `silent` never
listens. With `mptcp` the listener is of MPTCP, as Go's net/http makes it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time

where, manner = sys.argv[1:3]
with open("release", encoding="utf-8") as file:
    release = file.read().strip()
leaving = threading.Event()
lock = threading.Lock()
idle: set[socket.socket] = set()
busy: set[socket.socket] = set()  # also a connection that has asked nothing yet


def listening_socket() -> socket.socket:
    if where == "fd":
        return socket.socket(fileno=3)
    kind = getattr(socket, "IPPROTO_MPTCP", 262) if "mptcp" in sys.argv else 0
    try:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, kind)
    except OSError:
        listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(where)))
    return listener


def starve() -> None:
    """A little work, on a CPU that another process wants for itself: a second or two."""
    cpu = {min(os.sched_getaffinity(0))}
    if os.fork() == 0:
        os.sched_setaffinity(0, cpu)
        end = time.monotonic() + 15
        while time.monotonic() < end:
            pass
        os._exit(0)
    os.sched_setaffinity(0, cpu)
    os.nice(19)
    os.write(1, b"starves\n")
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass


def request(conn: socket.socket) -> bytes:
    """The next request on it; empty when there will be none."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = conn.recv(4096)
        except OSError:
            more = b""
        with lock:
            idle.discard(conn)
            busy.discard(conn)
            if not more:
                return b""
            busy.add(conn)
        data += more
    return data


def serve(conn: socket.socket) -> None:
    with conn:
        while data := request(conn):
            if b"/starved" in data:
                starve()
            body = release.encode() + b" " + data.split()[1]
            last = b"Connection: close" in data or leaving.is_set()
            head = b"HTTP/1.1 200 OK\r\n" + (b"Connection: close\r\n" if last else b"")
            size = str(len(body)).encode()
            try:
                conn.sendall(head + b"Content-Length: " + size + b"\r\n\r\n" + body)
            except OSError:
                last = True
            with lock:
                busy.discard(conn)
                if last or leaving.is_set():
                    return
                idle.add(conn)


def stop(*_: object) -> None:
    if manner == "rude":
        os._exit(0)
    leaving.set()


def accept_all(listener: socket.socket, woken: int) -> None:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(woken, select.POLLIN)
    while not leaving.is_set():
        poll.poll()
        try:
            conn, _ = listener.accept()
        except BlockingIOError:
            continue
        conn.setblocking(True)
        with lock:
            busy.add(conn)
        threading.Thread(target=serve, args=(conn,), daemon=True).start()


def finish() -> None:
    """Close what is idle, wait for what is busy."""
    while True:
        with lock:
            for conn in idle:
                conn.shutdown(socket.SHUT_RD)
            if not idle and not busy:
                return
        time.sleep(0.002)


def main() -> None:
    if release == "broken":
        sys.exit("broken release")
    while release == "slow" and not os.path.exists("go"):
        time.sleep(0.01)
    listener = listening_socket()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    # Python calls `stop` between two of its own steps. A signal that comes after the last one
    # and before poll(2) would wait for the next connection, which steering may keep away: only
    # what the C handler writes ends that poll.
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if manner == "deaf" else stop)
    if release == "silent":
        signal.pause()
    listener.setblocking(False)
    listener.listen(4096 if "mptcp" in sys.argv else 64)
    if os.environ.get("DEFER"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
    os.write(1, b"up\n")
    accept_all(listener, woken)
    listener.close()
    finish()


main()
