"""32-bit programs on a 64-bit kernel: their system calls have other numbers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest

from tests.support.portlab import Lab, get, spec
from tests.support.ports import free_port

# Without a C library, which need not be installed. argv: how, port. Answers $SLOT.
PROGRAM = r"""
typedef unsigned int u32;
static int call(int n, long a, long b, long c, long d) {
    int r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
    return r;
}
static int new_way(int what, long a, long b, long c) {
    static const int numbers[] = {0, 359, 361, 362, 363};
    return what == 5 ? call(364, a, b, c, 0) : call(numbers[what], a, b, c, 0);
}
static int old_way(int what, long a, long b, long c) {
    u32 args[3] = {a, b, c};
    return call(102, what, (long)args, 0, 0);  /* socketcall(2) */
}
static void start(long *stack) {
    int argc = stack[0], (*sock)(int, long, long, long) = 0;
    char **argv = (char **)(stack + 1), **env = argv + argc + 1, slot = '?';
    char answer[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n?";
    static char request[4096];
    u32 port = 0;
    for (char *p = argv[2]; *p; p++) port = port * 10 + *p - '0';
    for (; *env; env++)
        if ((*env)[0] == 'S' && (*env)[1] == 'L' && (*env)[3] == 'T') slot = (*env)[5];
    struct { unsigned short family, port; u32 host; char zero[8]; } in = {
        2, (unsigned short)(port >> 8 | port << 8), 0x0100007f, {0}};
    sock = argv[1][0] == 'n' ? new_way : old_way;
    int s = sock(1, 2, 1, 0);
    int failed = sock(2, s, (long)&in, sizeof in);
    if (failed) call(1, -failed, 0, 0, 0);
    failed = sock(4, s, 100, 0);
    if (failed) call(1, -failed, 0, 0, 0);
    answer[sizeof answer - 2] = slot;
    for (;;) {
        int c = sock(5, s, 0, 0);
        if (c < 0) continue;
        call(3, c, (long)request, sizeof request, 0);
        call(4, c, (long)answer, sizeof answer - 1, 0);
        call(6, c, 0, 0, 0);
    }
}
__asm__(".globl _start\n_start:\n mov %esp, %eax\n push %eax\n call begin\n");
void begin(long *stack) { start(stack); }
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if os.uname().machine != "x86_64" or not shutil.which("gcc"):
        pytest.skip("needs gcc on x86_64")
    folder = tmp_path_factory.mktemp("32bit")
    (folder / "server.c").write_text(PROGRAM)
    flags = "-m32 -nostdlib -static -ffreestanding -fno-pie -no-pie -fno-stack-protector -O1"
    built = subprocess.run(
        ["gcc", *flags.split(), "-o", "server", "server.c"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if built.returncode:
        pytest.skip(f"no 32-bit compiler: {built.stderr[-200:]}")
    try:
        subprocess.run([str(folder / "server"), "new", "0"], timeout=0.3, env={})
    except subprocess.TimeoutExpired:
        return str(folder / "server")
    except OSError as error:
        pytest.skip(f"the kernel runs no 32-bit programs: {error}")
    return str(folder / "server")


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("way", ["new", "old"])
def test_a_32_bit_program_shares_its_port(program, way, declared):
    port = free_port()
    listen = (spec(f"127.0.0.1:{port}"),) if declared else ()
    with Lab([program, way, str(port)], listen=listen, handoff="intercept") as lab:
        workers = lab.run(3)
        assert {get(port) for _ in range(30)} == {"0", "1", "2"}
        lab.stop(workers[0], 9)
        lab.listening(lab.start(0))
        assert {get(port) for _ in range(30)} == {"0", "1", "2"}


BAD = """
import ctypes, mmap, os, socket, sys
# socketcall(2) by int 0x80 from a 64-bit program, with pointers that lead nowhere.
code = bytes.fromhex("53 b8 66 00 00 00 89 fb 89 f1 cd 80 5b c3".replace(" ", ""))
box = mmap.mmap(-1, 4096, prot=7)
box.write(code)
call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_long, ctypes.c_long)(
    ctypes.addressof(ctypes.c_char.from_buffer(box)))
for what in (2, 4, 0, 99):
    for where in (0, 1, 4096, 0x7fffffff, 0xfffffffc):
        assert call(what, where) < 0
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listens", flush=True)
while True:
    s.accept()[0].close()
"""


def test_pointers_that_lead_nowhere_harm_nobody(program, tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(BAD)
    port = free_port()
    with Lab([sys.executable, str(path), str(port)]) as lab:
        lab.run(1)
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        assert lab.text() == "listens\n"
