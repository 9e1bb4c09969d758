"""The programs of the chaos run: `worker.py KIND FOLDER [PORT]`.

Each writes down what it did before others can see it, in files of its own below FOLDER:
`accepted-PID` has a line for each connection that it accepted, `talked-TOKEN` the number
of lines that it has written. The oracle compares them with what clients and the log saw.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time

KIND, FOLDER = sys.argv[1:3]


def note(name: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.open(os.path.join(FOLDER, name), flags, 0o600)


def notify(text: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                sock.sendto(text.encode(), path.replace("@", "\0", 1))
            except OSError:
                pass  # a flood: pyinit takes what it can


def whole_request(conn: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = conn.recv(4096)
        if not more:
            return b""
        data += more
    return data


def take(listener: socket.socket) -> None:
    """Accept, for a worker that only listens is not ready."""
    while True:
        try:
            conn, _ = listener.accept()
            conn.close()
        except OSError:
            time.sleep(0.01)


def web() -> None:
    """Answers `GET /N` with its pid and N; leaves politely."""
    port = int(sys.argv[3])
    leaving = threading.Event()
    accepted = note(f"accepted-{os.getpid()}")
    idle: set[socket.socket] = set()

    def serve(conn: socket.socket) -> None:
        # A connection that has asked nothing yet is not idle: its request may be on the way.
        with conn:
            while True:
                try:
                    data = whole_request(conn)
                    idle.discard(conn)
                    if not data:
                        return
                    path = data.split(b" ", 2)[1]
                    close = b"connection: close" in data.lower() or leaving.is_set()
                    body = b"%d %s" % (os.getpid(), path)
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body)
                    head += b"Connection: close\r\n" if close else b""
                    conn.sendall(head + b"\r\n" + body)
                    if close:
                        return
                    idle.add(conn)
                except OSError:
                    return

    if extra := os.environ.get("EXTRA"):
        # A second address, which the file declares for a while.
        other = socket.socket(socket.AF_UNIX)
        other.bind(extra)
        other.listen(8)
        threading.Thread(target=take, args=(other,), daemon=True).start()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    listener.settimeout(0.1)
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())
    signal.signal(signal.SIGINT, lambda *_: leaving.set())
    signal.signal(signal.SIGUSR1, lambda *_: None)
    threads: list[threading.Thread] = []
    while not leaving.is_set():
        try:
            conn, peer = listener.accept()
        except OSError:
            continue
        os.write(accepted, b"%d %f\n" % (peer[1], time.monotonic()))
        conn.settimeout(60)
        threads = [each for each in threads if each.is_alive()]
        thread = threading.Thread(target=serve, args=(conn,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # a limit of processes: one at a time, then
            conn.settimeout(1)
            serve(conn)
            continue
        threads.append(thread)
    listener.close()
    for conn in list(idle):
        try:
            conn.shutdown(socket.SHUT_RD)
        except OSError:
            pass
    for thread in threads:
        thread.join(3)


def talker() -> None:
    """Writes numbered lines of odd sizes on both streams; some are JSON, some binary."""
    token = f"{os.getpid()}-{os.environ.get('NODE_APP_INSTANCE', '0')}-{time.monotonic_ns()}"
    rng = random.Random(token)
    count = os.open(os.path.join(FOLDER, f"talked-{token}"), os.O_RDWR | os.O_CREAT, 0o600)
    leaving = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())
    signal.signal(signal.SIGINT, lambda *_: leaving.set())
    signal.signal(signal.SIGUSR1, lambda *_: None)
    for number in range(1, 10**9):
        size = rng.choice((0, 1, 10, 10, 10, 100, 1000, 5000, 70_000))
        line = f"T {token} {number} {size} ".encode() + rng.choice((b"x", b"\xff", b'"')) * size
        rest = line + b"\n"
        while rest:
            rest = rest[os.write(1, rest) :]
        os.pwrite(count, b"%012d" % number, 0)
        if number % 50 == 0:
            os.write(2, b"on stderr\n")
        if leaving.wait(rng.choice((0.002, 0.01, 0.05))):
            return


def loop() -> None:
    """Crashes soon, in several ways."""
    rng = random.Random()
    time.sleep(rng.random() * 0.2)
    if rng.random() < 0.3:
        os.kill(os.getpid(), rng.choice((signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT)))
    if rng.random() < 0.3 and os.fork() == 0:
        time.sleep(rng.random())  # outlives its parent for a while
        os._exit(0)
    sys.exit(rng.choice((1, 2, 70)))


def notifier() -> None:
    """Says READY, a status, WATCHDOG; floods on SIGUSR1; forks daemons that leave."""
    flood = threading.Event()
    leaving = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: flood.set())
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())
    notify("READY=1\nSTATUS=begins")
    beats = 0
    while not leaving.wait(0.1):
        beats += 1
        notify(f"WATCHDOG=1\nSTATUS=beat {beats}")
        if flood.is_set():
            flood.clear()
            for number in range(3000):
                notify(f"STATUS=flood {number} " + "x" * 500)
        if beats % 50 == 0 and os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(0.3)
            os._exit(0)


def hog() -> None:
    """Grows beyond `max_memory_restart`, slowly; on SIGUSR1 beyond all limits, at once."""
    held = []
    at_once = threading.Event()
    # Bounded also where no limit of the control group stops it.
    most = 1000
    signal.signal(signal.SIGUSR1, lambda *_: at_once.set())
    while len(held) < most:
        held.append(bytearray(b"x" * 1_000_000))
        if not at_once.is_set():
            at_once.wait(0.05)
    signal.pause()


def job() -> None:
    """Does nothing; ignores its stop for a while."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    while True:
        time.sleep(60)


if "SAYS_READY" in os.environ and KIND in {"talker", "hog", "job"}:
    notify("READY=1")
{"web": web, "talker": talker, "loop": loop, "notifier": notifier, "hog": hog, "job": job}[KIND]()
