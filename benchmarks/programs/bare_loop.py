"""bare_loop.py N CMD ARG…: what every init in Python costs at least.

Fork N times, exec, wait; forward SIGTERM and SIGUSR1. The unit of many ratios.
"""

import os
import signal
import sys

workers = []


def forward(number, _frame):
    for worker in workers:
        os.kill(worker, number)


signal.signal(signal.SIGTERM, forward)
signal.signal(signal.SIGUSR1, forward)
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        os.execvp(sys.argv[2], sys.argv[2:])
    workers.append(pid)
while True:
    try:
        pid, status = os.wait()
    except ChildProcessError:
        break
    if pid in workers:
        workers.remove(pid)
        if not workers:
            sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
