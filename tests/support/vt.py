"""A program on a pseudo-terminal, and what its screen shows: as much of a VT100 as is needed."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios

from tests.support.wait import wait_until

SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Screen:
    """The characters on a terminal of some size. Raises ValueError for what it does not know."""

    def __init__(self, width, height):
        self.alternate = False
        self.cursor = True
        self.colours = set()
        self.resize(width, height)

    def resize(self, width, height):
        self.width, self.height = width, height
        self.clear()

    def clear(self):
        self.rows = [[" "] * self.width for _ in range(self.height)]
        self.row = self.column = 0

    def feed(self, text):
        """Returns what is left: the beginning of a sequence."""
        while text:
            if text[0] == "\x1b":
                found = SEQUENCE.match(text)
                if found is None:
                    if len(text) < 12:
                        return text
                    raise ValueError(f"unknown sequence {text[:12]!r}")
                self.act(*found.groups())
                text = text[found.end() :]
            else:
                self.put(text[0])
                text = text[1:]
        return ""

    def act(self, numbers, letter):
        if letter == "H":
            row, _, column = (numbers or "1;1").partition(";")
            self.row, self.column = int(row) - 1, int(column or 1) - 1
        elif (numbers, letter) == ("2", "J"):
            self.clear()
        elif letter == "m":
            self.colours.add(numbers)
        elif (numbers, letter) in {("?1049", "h"), ("?1049", "l")}:
            self.alternate = letter == "h"
        elif (numbers, letter) in {("?25", "h"), ("?25", "l")}:
            self.cursor = letter == "h"
        else:
            raise ValueError(f"unknown sequence {numbers}{letter}")

    def put(self, character):
        if character == "\n":
            self.row += 1
        elif character == "\r":
            self.column = 0
        elif self.row < self.height and self.column < self.width:
            self.rows[self.row][self.column] = character
            self.column += 1

    @property
    def lines(self):
        return ["".join(row).rstrip() for row in self.rows]

    @property
    def text(self):
        return "\n".join(self.lines)


class Terminal:
    """`with Terminal([...], 80, 24) as terminal:`; the program has it as its own terminal."""

    def __init__(self, command, width=80, height=24, env=None):
        self.master, slave = os.openpty()
        self.screen = Screen(width, height)
        self._size(width, height)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm", "NO_COLOR": "", **(env or {})},
        )
        self.slave = slave
        self._rest = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def _size(self, width, height):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def resize(self, width, height):
        self.screen.resize(width, height)
        self._size(width, height)

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            data = os.read(self.master, 1 << 16)
            self._rest = self.screen.feed(self._rest + data.decode("utf-8", "replace"))

    def shows(self, text):
        """Wait until it is on the screen."""

        def look():
            self.read()
            return text in self.screen.text

        wait_until(look, lambda: f"{text!r} is not on\n{self.screen.text}", timeout=40)

    def press(self, keys):
        os.write(self.master, keys.encode())

    def ended(self):
        """The exit code."""

        def look():
            self.read()
            return self.process.poll() is not None

        wait_until(look, lambda: f"it goes on\n{self.screen.text}", timeout=40)
        self.read()
        return self.process.returncode


class Transcript(Terminal):
    """The same for a program that writes line after line: `text` has all of it."""

    text = ""

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:
                return  # EIO: nobody has the other end any more
            self.text += data.decode("utf-8", "replace").replace("\r\n", "\n")

    def shows(self, text):
        """Wait until it has been written; what stands before it is forgotten."""

        def look():
            self.read()
            return text in self.text

        wait_until(look, lambda: f"{text!r} is not in\n{self.text}", timeout=40)
        before, _, self.text = self.text.partition(text)
        return before
