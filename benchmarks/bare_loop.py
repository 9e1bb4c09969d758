"""What every init in Python costs at least: fork, exec, wait. The unit of the ratios."""

import os
import signal
import sys

signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
child = os.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
while True:
    try:
        pid, status = os.wait()
    except ChildProcessError:
        break
    if pid == child:
        sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
