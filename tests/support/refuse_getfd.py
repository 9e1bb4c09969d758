"""`python refuse_getfd.py COMMAND…`: run it where pidfd_getfd(2) is refused, as Docker does."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from entrypoint.kernel import bpf

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
EPERM = 1
number = 438  # pidfd_getfd
program = (
    (0x20, 0, 0, 0),  # the call's number
    (0x15, 0, 1, number),
    (0x06, 0, 0, 0x00050000 | EPERM),
    (0x06, 0, 0, 0x7FFF0000),
)
code = ctypes.create_string_buffer(bpf.pack(program))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
described = struct.pack("=HxxxxxxQ", len(program), ctypes.addressof(code))
if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, described) != 0:
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
