"""A Docker engine of the tests' own, which leaves nothing behind.

`dockerd` runs in mount, network and PID namespaces of its own: its bridge, its firewall
rules and its mounts are never seen by the machine, and when `unshare` goes, the kernel
ends everything in them. Only the images stay, in a folder of the user's cache, so that a
second run is quick. An engine that the machine has already is not touched.

There is no way out of that network, on purpose: what an image is built from is brought
in (images.py), so the tests mean the same on every machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLONE_NEWNET = 0x40000000
NEEDED = ("dockerd", "docker", "containerd", "runc", "unshare", "ip", "tini")


class EngineError(Exception):
    """The engine cannot run here, or a `docker` command failed."""


def cache_folder() -> Path:
    """Where images stay between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pyinit" / "container"


def why_not() -> str:
    """What this machine lacks for an engine; empty when nothing."""
    if os.geteuid() != 0:
        return "a Docker engine of the tests' own needs root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if missing:
        return f"missing programs: {', '.join(missing)} (make setup installs them on Debian)"
    return ""


def wait_until(
    condition: Callable[[], Any], what: str, timeout: float = 30.0, pause: float = 0.05
) -> Any:
    """The first true answer of `condition`; an EngineError names `what` never came."""
    step = functools.partial(time.sleep, pause)
    return wait.wait_until(condition, what, timeout, step=step, error=EngineError)


class Done(NamedTuple):
    """A finished command."""

    code: int
    out: str
    err: str


class Engine:
    """The daemon and its client."""

    def __init__(self) -> None:
        self.cache = cache_folder()
        self.cache.mkdir(parents=True, exist_ok=True)
        # A data root belongs to one daemon at a time.
        self._lock = (self.cache / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Short, for a unix socket's path has at most 107 bytes.
        self.run = Path(tempfile.mkdtemp(prefix="pyinit-engine-"))
        self.log = self.run / "dockerd.log"
        (self.run / "daemon.json").write_text("{}")
        (self.run / "client").mkdir()
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "BUILDKIT_"))},
            "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin",
            "DOCKER_HOST": f"unix://{self.run}/docker.sock",
            "DOCKER_CONFIG": str(self.run / "client"),
            # The builder that needs no plug-in; Debian's client brings none.
            "DOCKER_BUILDKIT": "0",
        }
        self._network = -1
        self._process = self._start()
        self.client = self._find_client()
        self._network = os.open(f"/proc/{self._inner_pid()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _start(self) -> subprocess.Popen[bytes]:
        daemon = [
            "dockerd",
            *("--config-file", str(self.run / "daemon.json")),
            *("--data-root", str(self.cache / "engine")),
            *("--exec-root", str(self.run / "exec")),
            *("--pidfile", str(self.run / "pid")),
            *("--host", f"unix://{self.run}/docker.sock"),
        ]
        script = 'ip link set lo up && exec tini -- "$@"'
        namespaces = ["--mount", "--net", "--pid", "--fork", "--mount-proc"]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [
                    "unshare",
                    *namespaces,
                    "--kill-child=SIGKILL",
                    *("sh", "-c", script, "sh", *daemon),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environ,
                start_new_session=True,
            )

    def _inner_pid(self) -> int:
        # The only child of unshare: tini, PID 1 of the engine's namespace.
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(children.read_text().split()[0])

    def _find_client(self) -> str:
        """A `docker` that speaks this daemon's API (a newer one may have dropped it)."""
        clients = [c for c in (shutil.which("docker"), "/usr/bin/docker") if c and Path(c).exists()]

        def works() -> str:
            if self._process.poll() is not None:
                raise EngineError(f"dockerd ended at once:\n{self.tail()}")
            for client in clients:
                done = subprocess.run(
                    [client, "version"], env=self.environ, capture_output=True, check=False
                )
                if done.returncode == 0:
                    return client
            return ""

        try:
            return wait_until(works, "an answer from dockerd", timeout=60.0, pause=0.2)
        except EngineError as error:
            tail = self.tail()
            self.close()
            raise EngineError(f"{error}\n{tail}") from None

    def tail(self) -> str:
        """The last lines of the daemon's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def close(self) -> None:
        """End the daemon and all that it started."""
        if self._network >= 0:
            os.close(self._network)
            self._network = -1
        if self._process.poll() is None:
            # tini hands it to dockerd, which writes down its state.
            with contextlib.suppress(OSError, IndexError):
                os.kill(self._inner_pid(), signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._lock.close()
        shutil.rmtree(self.run, ignore_errors=True)

    # -- the client -----------------------------------------------------------------

    def docker(
        self, *args: str, check: bool = True, stdin: Any = None, timeout: float = 300.0
    ) -> Done:
        """Run `docker ARGS`; an EngineError carries what a failed one said."""
        done = subprocess.run(
            [self.client, *args],
            env=self.environ,
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            raise EngineError(f"docker {' '.join(args)}: exit {done.returncode}\n{out}{err}")
        return Done(done.returncode, out, err)

    def has_image(self, tag: str) -> bool:
        """Whether that image is in the cache."""
        return self.docker("image", "inspect", tag, check=False).code == 0

    def build(self, context: Path, tag: str, *options: str, **build_args: str) -> str:
        """`docker build`; the tag."""
        given = [f"--build-arg={key}={value}" for key, value in build_args.items()]
        self.docker("build", "--tag", tag, *options, *given, str(context), timeout=900.0)
        return tag

    @contextlib.contextmanager
    def container(
        self, image: str, *options: str, command: tuple[str, ...] = ()
    ) -> Iterator[Container]:
        """`docker run --detach`; the container is removed at the end."""
        identifier = self.docker("run", "--detach", *options, image, *command).out.strip()
        container = Container(self, identifier)
        try:
            yield container
            container.expect_no_internal_error()
        except BaseException:
            # What a person needs who reads the failure.
            print(f"--- {container.state()}\n--- docker logs:\n{container.logs()}")
            raise
        finally:
            self.docker("rm", "--force", identifier, check=False)

    # -- the network ----------------------------------------------------------------

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread in the engine's network: sockets made here live there."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self._network)
            yield
        finally:
            _setns(here)
            os.close(here)

    def connect(self, host: str, port: int, timeout: float = 10.0) -> socket.socket:
        """A connection from the engine's host."""
        with self.inside():
            return socket.create_connection((host, port), timeout)

    def get(self, host: str, port: int, path: str = "/", timeout: float = 10.0) -> Answer:
        """One GET on a connection of its own. Raises OSError and HTTPException."""
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.sock = self.connect(host, port, timeout)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(errors="replace"))
        finally:
            connection.close()


class Answer(NamedTuple):
    """Of an HTTP server."""

    status: int
    body: str

    def expect(self, status: int) -> None:
        """Raises HTTPException for any other status."""
        if self.status != status:
            raise http.client.HTTPException(f"status {self.status}: {self.body[:200]}")


class Container:
    """One that was started."""

    def __init__(self, engine: Engine, identifier: str) -> None:
        self.engine = engine
        self.id = identifier

    def inspect(self) -> dict[str, Any]:
        """All that the engine knows."""
        return json.loads(self.engine.docker("inspect", self.id).out)[0]

    def state(self) -> dict[str, Any]:
        """`.State`: Status, Running, ExitCode, Health, …"""
        return self.inspect()["State"]

    def health(self) -> str:
        """`starting`, `healthy` or `unhealthy`."""
        return self.state()["Health"]["Status"]

    def address(self) -> str:
        """On the engine's bridge."""
        return self.inspect()["NetworkSettings"]["IPAddress"]

    def published(self, port: int) -> tuple[str, int]:
        """Where `-p` put a port."""
        host, _, number = (
            self.engine.docker("port", self.id, str(port)).out.split()[0].rpartition(":")
        )
        return host, int(number)

    def logs(self) -> str:
        """Both streams of PID 1."""
        done = self.engine.docker("logs", self.id, check=False)
        return done.out + done.err

    def events(self) -> list[dict[str, Any]]:
        """The log lines that are JSON objects."""
        found = []
        for line in self.logs().splitlines():
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    found.append(value)
        return found

    def expect_no_internal_error(self) -> None:
        """What pyinit survived and logged is still a bug. Raises EngineError."""
        broken = [event for event in self.events() if event.get("event") == "internal error"]
        if broken:
            raise EngineError(f"internal errors: {broken}")

    def run(self, *command: str, check: bool = True) -> Done:
        """`docker exec`."""
        return self.engine.docker("exec", self.id, *command, check=check)

    def processes(self) -> list[tuple[int, int, str, str]]:
        """(pid, parent, state, name) of everything in it, by /proc: images have no `ps`."""
        script = (
            "import os\n"
            "for p in filter(str.isdigit, os.listdir('/proc')):\n"
            "    try: s = open(f'/proc/{p}/stat').read()\n"
            "    except OSError: continue\n"
            "    name, rest = s[s.index('(') + 1:s.rindex(')')], s[s.rindex(')') + 2:].split()\n"
            "    if int(p) != os.getpid(): print(p, rest[1], rest[0], name)\n"
        )
        rows = (line.split(None, 3) for line in self.run("python3", "-c", script).out.splitlines())
        return [(int(pid), int(parent), state, name) for pid, parent, state, name in rows]

    def get(self, port: int, path: str = "/") -> Answer:
        """One GET to the container's own address."""
        return self.engine.get(self.address(), port, path)

    def answers(
        self, port: int, path: str = "/", status: int = 200, timeout: float = 60.0
    ) -> Answer:
        """The first answer with that status; keeps asking till then."""
        last: list[Any] = [None]

        def asked() -> Answer | None:
            try:
                last[0] = self.get(port, path)
            except (OSError, http.client.HTTPException) as error:
                last[0] = error
                if not self.state()["Running"]:
                    raise EngineError(f"the container ended: {self.state()}") from None
                return None
            return last[0] if last[0].status == status else None

        try:
            return wait_until(asked, f"{status} from :{port}{path}", timeout)
        except EngineError as error:
            raise EngineError(f"{error}; the last was {last[0]!r}") from None

    def stop(self, grace: int = 10) -> float:
        """`docker stop`; the seconds that it took."""
        begin = time.monotonic()
        self.engine.docker("stop", f"--time={grace}", self.id)
        return time.monotonic() - begin

    def signal(self, name: str) -> None:
        """`docker kill --signal`."""
        self.engine.docker("kill", f"--signal={name}", self.id)

    def wait(self, timeout: float = 30.0) -> int:
        """The exit code, once it has one."""
        wait_until(lambda: not self.state()["Running"], "the end of the container", timeout)
        return self.state()["ExitCode"]


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def fingerprint(*parts: str | bytes) -> str:
    """A short name for what an image is made of."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:12]
