"""Why a program cannot be executed here, by its first bytes (elf(5))."""

from __future__ import annotations

import os

_MACHINES = {
    3: "i386",
    8: "mips",
    20: "powerpc",
    21: "ppc64le",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
# The names in uname(2) of architectures that run here as well, and common names of others.
_SAME = {"i386": ("x86_64", "i686", "i586", "i486"), "arm": ("armv7l", "armv6l", "armv8l")}
_DOCKER = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "arm": "linux/arm/v7"}
_OTHERS = (
    (b"\xcf\xfa\xed\xfe", "a program for macOS"),
    (b"\xca\xfe\xba\xbe", "a program for macOS, or a Java class"),
    (b"MZ", "a program for Windows"),
    (b"\0asm", "WebAssembly"),
    (b"PK\x03\x04", "an archive (a .jar needs `java -jar`)"),
)
_PT_INTERP = 3
HEAD = 4096


def is_text(head: bytes) -> bool:
    """Whether it is a text, by the rule of shells: no NUL in the first line, no foreign program."""
    known = any(head.startswith(mark) for mark, _ in _OTHERS)
    return not known and head[:4] != b"\x7fELF" and b"\0" not in head[:256].split(b"\n")[0]


def why_foreign(head: bytes) -> str:
    """The kind of a program that this machine cannot execute; empty if unknown."""
    if head[:4] != b"\x7fELF":
        return next((text for mark, text in _OTHERS if head.startswith(mark)), "")
    if len(head) < 64:
        return "a program that is cut off"
    machine = _machine(head)
    here = os.uname().machine
    if machine == here or here in _SAME.get(machine, ()):
        if head[4] == 1:
            return "a 32-bit program, which this kernel does not execute"
        return "a program for this machine that the kernel refuses: it may be cut off"
    platform = _DOCKER.get(here)
    hint = f"; build it, or pull the image, for {platform}" if platform else ""
    return f"a program for {machine}, and this machine is {here}{hint}"


def why_no_loader(head: bytes) -> str:
    """What is missing for a program whose interpreter does not exist."""
    loader = _loader(head)
    if not loader:
        return "its dynamic loader does not exist: it was built for another C library"
    text = f"its dynamic loader {loader} does not exist: "
    if head[4] == 1 and os.uname().machine in ("x86_64", "aarch64"):
        return text + f"it is a 32-bit program ({_machine(head)}) and there is no 32-bit C library"
    if "musl" in loader:
        return text + "it was built for musl (Alpine), and this system has glibc"
    if os.path.exists("/etc/alpine-release"):
        return text + "it was built for glibc, and this is Alpine (musl): try `apk add gcompat`"
    return text + "it was built for another C library"


def _number(head: bytes, at: int, size: int) -> int:
    return int.from_bytes(head[at : at + size], "big" if head[5] == 2 else "little")


def _machine(head: bytes) -> str:
    number = _number(head, 18, 2)
    return _MACHINES.get(number, f"machine {number}")


def _loader(head: bytes) -> str:
    """PT_INTERP, if it is within `head`."""
    wide = head[4] == 2
    start, size, count = (
        (_number(head, 32, 8), _number(head, 54, 2), _number(head, 56, 2))
        if wide
        else (_number(head, 28, 4), _number(head, 42, 2), _number(head, 44, 2))
    )
    for n in range(min(count, 64)):
        at = start + n * size
        if at + size > len(head) or _number(head, at, 4) != _PT_INTERP:
            continue
        offset, length = (
            (_number(head, at + 8, 8), _number(head, at + 32, 8))
            if wide
            else (_number(head, at + 4, 4), _number(head, at + 16, 4))
        )
        return os.fsdecode(head[offset : offset + min(length, 256)].rstrip(b"\0"))
    return ""
