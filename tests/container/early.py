"""A server that sets options of its socket, or puts it into an epoll set, before it binds.

`/` tells who answers, and the options that the listener has.
"""

import json
import os
import select
import socket
import struct
import sys

OPTIONS = {
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    "idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    "user timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20000),
    "receive buffer": (socket.SOL_SOCKET, socket.SO_RCVBUF, 60000),
    "send buffer": (socket.SOL_SOCKET, socket.SO_SNDBUF, 50000),
    "defer": (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1),
    "fast open": (socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16),
    "tos": (socket.IPPROTO_IP, socket.IP_TOS, 16),
}


def seen(sock):
    found = {name: sock.getsockopt(level, number) for name, (level, number, _) in OPTIONS.items()}
    found["linger"] = struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
    return found


def prepared():
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for level, number, value in OPTIONS.values():
        sock.setsockopt(level, number, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
    return sock


# What a socket that nobody gets between has.
bare = seen(prepared())
listener = prepared()
poll = select.epoll()
if "epoll" in sys.argv:
    poll.register(listener, select.EPOLLIN)
listener.bind(("0.0.0.0", int(sys.argv[1])))
listener.listen(64)
if "epoll" not in sys.argv:
    poll.register(listener, select.EPOLLIN)
while True:
    poll.poll()
    client, _ = listener.accept()
    client.recv(4096)
    answer = {"instance": os.environ.get("NODE_APP_INSTANCE"), "pid": os.getpid()}
    body = json.dumps({**answer, "same": seen(listener) == bare, "seen": seen(listener)}).encode()
    client.sendall(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    client.sendall(body)
    client.close()
