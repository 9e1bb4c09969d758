"""`bare_port.py slots|one PORT N COMMAND…`: bind, start N with their socket as descriptor 3, wait.

The unit of what sharing a port costs: the same sockets and the same steering, and nobody
between the kernel and the worker.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from entrypoint.kernel import sockets

share, port, count, *command = sys.argv[1:]
wanted = int(count)
number = 1 if share == "one" else wanted
held = [sockets.bind_shared("inet", "127.0.0.1", int(port), v6only=False) for _ in range(number)]
for sock in held:
    sock.listen(4096)
if number > 1:
    sockets.steer(held[0], tuple(range(number)))
for worker in range(wanted):
    if os.fork() == 0:
        os.dup2(held[worker % number].fileno(), 3)
        os.set_inheritable(3, True)  # where it was 3 already
        os.execvp(command[0], command)
while True:
    os.wait()
