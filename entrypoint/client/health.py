"""`pyinit health`: ask the running pyinit, for HEALTHCHECK in images without curl.

It uses the private socket (api/socket_path.py), so it needs no file and no port, and
it imports next to nothing, because Docker starts it again and again.
"""

from __future__ import annotations

import _socket
import errno
import os
import sys
import time

from entrypoint.api import socket_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = """\
usage: pyinit health [live|ready|startup] [APP] [options]

Ask the running pyinit how it is. Exit 0: it is (prints `ok`); 1: it is not, or nobody
answers (prints the reasons on one line).

  live      the loop turns and no app is errored
  ready     every app has its workers ready and nothing is draining (the default)
  startup   every app was ready once
  APP       only this app

options:
  -v, --verbose       every check on its own line
  --timeout TIME      give up after this time: 2s (the default), 500ms, 5
  --url URL           ask this address instead: http://127.0.0.1:9400
  --socket PATH       ask this unix socket instead (@NAME: an abstract one)
"""

ENDPOINTS = {
    "live": "livez",
    "livez": "livez",
    "ready": "readyz",
    "readyz": "readyz",
    "startup": "startupz",
    "startupz": "startupz",
    "started": "startupz",
}
# Below the 3 s that HEALTHCHECK and probes are commonly given, so that the reason is printed.
DEFAULT_TIMEOUT = 2.0
# More than the longest answer; a server that sends without end is not ours.
ANSWER_LIMIT = 1 << 20


class Unanswered(Exception):
    """No answer; `str()` says why."""


class NoSocket(Unanswered):
    """No pyinit of this container has a socket that this user may use."""


class Question:
    """The parsed command line."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.app = ""
        self.verbose = False
        self.timeout = DEFAULT_TIMEOUT
        self.url = ""
        self.socket = ""


def main(argv: Sequence[str]) -> int:
    """`argv` without `health`. Returns 0 or 1, also for a bad command line.

    Docker reserves 2 as the exit code of a HEALTHCHECK.
    """
    try:
        question = parse(argv)
    except ValueError as error:
        return _say(f"pyinit health: {error}", sys.stderr, 1)
    if question is None:
        return _say(USAGE.rstrip(), sys.stdout, 0)
    deadline = time.monotonic() + question.timeout
    try:
        sock, host = reach(question, deadline)
        try:
            status, body = _ask(sock, host, question, deadline)
        finally:
            sock.close()
    except NoSocket as error:
        return _single(question, str(error))
    except Unanswered as error:
        return _say(f"pyinit health: {error}", sys.stdout, 1)
    if question.verbose:
        return _say(body.strip(), sys.stdout, 0 if status == 200 else 1)
    if status == 200:
        return _say("ok", sys.stdout, 0)
    return _say(f"{question.endpoint} failed: {reasons(body) or status}", sys.stdout, 1)


def _single(question: Question, otherwise: str) -> int:
    """The answer for `pyinit -- CMD`, which has no socket and is healthy while CMD lives."""
    from . import single_command

    found = single_command.find(socket_path.users())
    if found is None:
        return _say(f"pyinit health: {otherwise}", sys.stdout, 1)
    name = os.path.basename(found.command[0])
    if question.app not in ("", name):
        text = f"no app {question.app!r}: `pyinit -- {name}` runs one command"
        return _say(f"pyinit health: {text}", sys.stdout, 1)
    if found.failure:
        return _say(f"{question.endpoint} failed: {found.failure}", sys.stdout, 1)
    if question.verbose:
        return _say(f"[+]{name} ok\n{question.endpoint} check passed", sys.stdout, 0)
    return _say("ok", sys.stdout, 0)


def _say(text: str, stream: object, code: int) -> int:
    try:
        print(text, file=stream, flush=True)  # type: ignore[call-overload]
    except OSError:
        return code  # the reader is gone (EPIPE); the exit code counts
    return code


def parse(argv: Sequence[str]) -> Question | None:
    """The command line; None when help is asked for. Raises ValueError with a sentence."""
    question = Question()
    words = list(argv)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if word in {"-h", "--help"}:
            return None
        if word in {"-v", "--verbose"}:
            question.verbose = True
        elif option in {"--timeout", "--url", "--socket"}:
            if not equals:
                if not words:
                    raise ValueError(f"{option} needs a value")
                value = words.pop(0)
            if option == "--timeout":
                question.timeout = _seconds(value)
            else:
                setattr(question, option[2:], value)
        elif word.startswith("-"):
            raise ValueError(f"unknown option {word}; see `pyinit health --help`")
        elif not question.endpoint:
            if word not in ENDPOINTS:
                raise ValueError(f"{word} is none of live, ready, startup")
            question.endpoint = ENDPOINTS[word]
        elif not question.app:
            question.app = word
        else:
            raise ValueError(f"{word} is one word too many")
    question.endpoint = question.endpoint or "readyz"
    return question


def _seconds(text: str) -> float:
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("", 1.0)):
        number = text.removesuffix(unit) if unit else text
        if text.endswith(unit) and number.replace(".", "", 1).isdecimal():
            seconds = float(number) * factor
            if 0 < seconds <= 3600:
                return seconds
    raise ValueError(f"--timeout {text} is no time; write 3s or 500ms")


# -- reaching it --------------------------------------------------------------------


def reach(question: Question, deadline: float) -> tuple[_socket.socket, str]:
    """A connected socket and the value of the Host field."""
    if question.url:
        return _reach_url(question.url, deadline)
    if question.socket:
        address = question.socket
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            return _connect_unix(address, deadline), "pyinit"
        except OSError as error:
            raise Unanswered(f"{question.socket}: {error.strerror or error}") from None
    return _reach_place(deadline), "pyinit"


def _reach_place(deadline: float) -> _socket.socket:
    """The pyinit of this container: process 1 when it is one, else the only one."""
    alive: list[tuple[int, str, _socket.socket]] = []
    refused = ""
    for pid, address in sorted(socket_path.find(os.environ)):
        try:
            sock = _connect_unix(address, deadline)
        except PermissionError:
            refused = _not_permitted(address)
            continue
        except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
            continue  # left by a dead one
        except OSError as error:
            refused = f"{socket_path.printable(address)}: {error.strerror or error}"
            continue
        if not socket_path.trusted(socket_path.Peer(sock)):
            sock.close()
            continue
        if pid == 1:
            return sock
        alive.append((pid, address, sock))
    if len(alive) == 1:
        return alive[0][2]
    if alive:
        found = ", ".join(
            f"{socket_path.printable(address)} (pid {pid})" for pid, address, _ in alive
        )
        raise Unanswered(f"several pyinits run here, choose one with --socket: {found}")
    if closed := socket_path.closed_folders(os.environ):
        refused = refused or _not_permitted(closed[0])
    raise NoSocket(refused or "no pyinit runs in this container")


def _not_permitted(path: str) -> str:
    """Which user may use the pyinit whose socket is at, or in, `path`."""
    if os.geteuid() != 0:
        return f"only root and its own user may ask the pyinit of {path}"
    try:
        owner = str(os.lstat(path).st_uid)
    except OSError:
        owner = "UID"
    # --cap-drop ALL: to this root, files of others are closed like to anybody.
    return f"root has no CAP_DAC_OVERRIDE here, which {path} needs: ask as its user, {owner}"


def _connect_unix(address: str, deadline: float) -> _socket.socket:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        while True:
            sock.settimeout(_left(deadline))
            try:
                sock.connect(address)
                return sock
            except BlockingIOError:
                # connect(2): its backlog is full, so it hangs, or is very busy.
                time.sleep(0.02)
    except BaseException:
        sock.close()
        raise


def _reach_url(url: str, deadline: float) -> tuple[_socket.socket, str]:
    host_port = url.removeprefix("http://").partition("/")[0]
    if "://" in host_port or not host_port:
        raise Unanswered(f"{url} is not like http://127.0.0.1:9400")
    host, colon, port = host_port.rpartition(":")
    if not colon or host_port.endswith("]"):
        host, port = host_port, "80"
    try:
        found = _socket.getaddrinfo(host.strip("[]"), port, type=_socket.SOCK_STREAM)
    except OSError as error:
        raise Unanswered(f"{host_port}: {error.strerror or error}") from None
    why = ""
    for family, kind, protocol, _, address in found:
        sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC, protocol)
        try:
            sock.settimeout(_left(deadline))
            sock.connect(address)
            return sock, host_port
        except TimeoutError:
            sock.close()
            raise Unanswered("no answer in time") from None
        except OSError as error:
            sock.close()
            why = error.strerror or str(error)
    raise Unanswered(f"{host_port}: {why}")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise Unanswered("no answer in time")
    return left


# -- asking -------------------------------------------------------------------------


def _ask(sock: _socket.socket, host: str, question: Question, deadline: float) -> tuple[int, str]:
    target = f"/{question.endpoint}"
    if question.app:
        target += "/" + "".join(f"%{byte:02X}" for byte in os.fsencode(question.app))
    request = f"GET {target}?verbose HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        sock.settimeout(_left(deadline))
        sock.sendall(request.encode("utf-8", "surrogateescape"))
        while len(answer) < ANSWER_LIMIT:
            # A server that sends a byte now and then does not move the deadline.
            sock.settimeout(_left(deadline))
            data = sock.recv(1 << 16)
            if not data:
                break
            answer += data
    except TimeoutError:
        raise Unanswered("no answer in time") from None
    except OSError as error:
        if error.errno not in {errno.ECONNRESET, errno.EPIPE} or not answer:
            raise Unanswered(f"the connection broke: {error.strerror or error}") from None
    head, found, body = answer.partition(b"\r\n\r\n")
    status = head[9:12]
    if not found or not head.startswith(b"HTTP/1.") or not status.isdigit():
        raise Unanswered("what answered is no pyinit" if answer else "it closed without an answer")
    return int(status), body.decode("utf-8", "replace")


def reasons(body: str) -> str:
    """What failed, on one line, from an answer of the verbose form."""
    failed = []
    for line in body.splitlines():
        if line.startswith("[-]"):
            name, _, reason = line[3:].partition(" failed: ")
            failed.append(f"{name}: {reason}")
    return "; ".join(failed) or body.strip().replace("\n", "; ")
