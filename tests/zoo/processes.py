"""What /proc shows of the processes of a trial, and of connections to its server."""

from __future__ import annotations

import os
import re
from pathlib import Path


def children(pid: int) -> list[int]:
    try:
        return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def tree(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            threads = os.listdir(f"/proc/{one}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                found += [
                    int(x) for x in Path(f"/proc/{one}/task/{thread}/children").read_text().split()
                ]
            except OSError:
                continue
    return found


def inner(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(re.findall(r"NSpid:.*\s(\d+)\n", status)[0])


def sockets(pids: list[int]) -> set[int]:
    found: set[int] = set()
    for pid in pids:
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    return found


def accepted(address: int | str) -> set[int]:
    """Inodes of the server's ends of connections to the address."""
    found: set[int] = set()
    if isinstance(address, str):
        for line in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]:
            words = line.split()
            if len(words) > 7 and words[7] == address and words[5] == "03":
                found.add(int(words[6]))
        return found
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if (
                words[3] == "01"
                and int(words[1].rpartition(":")[2], 16) == address
                and words[9] != "0"
            ):
                found.add(int(words[9]))
    return found
