"""The ecosystem file of the chaos run, and its changes."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

from tests.chaos.slowdisk import SlowDisk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from random import Random

WORKER = str(Path(__file__).with_name("worker.py"))
# Workers of the web app at most; in the beginning.
MOST_WEB, WEB = 6, 3
ENDLESS = {"max_restarts": 1_000_000, "min_uptime": 100}


class Scene:
    """What the file says now. `write` puts it where pyinit reads it."""

    def __init__(
        self, folder: Path, web_port: int, probe_port: int, *, small: bool = False
    ) -> None:
        """`small`: a worker or two of each app."""
        self._small = small
        self.most_web = 2 if small else MOST_WEB
        self.folder = folder
        # What pyinit and its workers read lies on a disk that can be made slow.
        self.on_disk = folder / "disk"
        self.on_disk.mkdir()
        self.path = self.on_disk / "ecosystem.yaml"
        self.disk: SlowDisk | None = None
        self.seen_disk = self._seen_disk()
        (self.on_disk / "variables").write_text("FROM_DISK=1\n")
        self.control = folder / "control.sock"
        self.web_port = web_port
        self.probe_port = probe_port
        self.watched = folder / "watched"
        self.watched.mkdir()
        (self.watched / "file").write_text("0")
        self._revision = 0
        self.first = self._first()
        self.now = copy.deepcopy(self.first)

    def _seen_disk(self) -> Path:
        """Where pyinit finds it: the folder itself where nothing can be mounted."""
        mount = self.folder / "slow"
        mount.mkdir()
        try:
            self.disk = SlowDisk(self.on_disk, mount)
        except OSError:
            return self.on_disk
        return mount

    def close(self) -> None:
        if self.disk is not None:
            self.disk.close()

    def _first(self) -> dict:
        def app(name: str, kind: str, *more: str, **keys: object) -> dict:
            words = [sys.executable, "-S", WORKER, kind, str(self.folder), *more]
            on_disk = {"cwd": str(self.seen_disk), "env_file": "variables"}
            if self._small:
                # Else one without a port is ready when it has rested for two seconds.
                on_disk["env"] = {"SAYS_READY": "1"}
            return {"name": name, "script": " ".join(words), **ENDLESS, **on_disk, **keys}

        watched = str(self.watched)
        few = 1 if self._small else 2
        web = app(
            "web",
            "web",
            str(self.web_port),
            exec_mode="cluster",
            instances=2 if self._small else WEB,
            listen=[f"127.0.0.1:{self.web_port}"],
            kill_timeout=4000,
            retire_delay=100,
            listen_timeout=20000,
            health={"http": f"http://127.0.0.1:{self.web_port}/0", "interval": 1000},
        )
        return {
            "apps": [
                web,
                app("talker", "talker", instances=few, kill_timeout=4000),
                app("loop", "loop", restart_delay=50, max_restarts=60, on_errored="keep"),
                app(
                    "notifier",
                    "notifier",
                    wait_ready=True,
                    watchdog=5000,
                    listen_timeout=20000,
                    instances=few,
                ),
                app("hog", "hog", max_memory_restart="60M"),
                app("job", "job", kill_timeout=300, watch=[watched], watch_delay=50),
                app("after", "job", kill_timeout=300, depends_on=["notifier"]),
            ],
            "probes": {"listen": f"127.0.0.1:{self.probe_port}"},
            "control": {"path": str(self.control)},
            "log": {"level": "info"},
            "shutdown": {"timeout": 30000},
        }

    def write(self) -> None:
        """Replace the file, as an editor does."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.now))
        new.rename(self.path)

    def reset(self) -> None:
        """The file as it was in the beginning, but for its revision."""
        self.now = copy.deepcopy(self.first)
        self.write()

    def app(self, name: str) -> dict | None:
        return next((each for each in self.now["apps"] if each["name"] == name), None)

    def change(self, rng: Random) -> str:
        """Change something and write the file; what it was."""
        self._revision += 1
        kind = rng.choice(("env", "env", "instances", "timeout", "remove", "add", "listen"))
        apps = self.now["apps"]
        one = rng.choice([each for each in apps if each["name"] not in {"web", "after"}])
        if kind == "env":
            rng.choice(apps).setdefault("env", {})["REVISION"] = str(self._revision)
        elif kind == "instances":
            name = rng.choice(("web", "talker", "notifier"))
            found = self.app(name)
            if found is not None:
                found["instances"] = rng.randint(1, 2 if self._small else 4)
        elif kind == "timeout":
            rng.choice(apps)["kill_timeout"] = rng.choice((500, 2000, 4000))
        elif kind == "remove" and one["name"] != "notifier" and len(apps) > 4:
            apps.remove(one)
        elif kind == "add":
            missing = [x for x in self.first["apps"] if self.app(x["name"]) is None]
            if missing:
                apps.append(copy.deepcopy(rng.choice(missing)))
            else:
                extra = copy.deepcopy(self.first["apps"][5])
                apps.append({**extra, "name": f"extra{self._revision}"})
        else:
            # The workers listen on what is declared: with an address on which none does, an
            # app is never ready.
            web, env = self.app("web"), dict(self.app("web").get("env", {}))
            path = f"{self.folder}/extra{self._revision % 3}.sock"
            web["listen"] = [f"127.0.0.1:{self.web_port}"]
            env.pop("EXTRA", None)
            if rng.random() < 0.5:
                web["listen"].append(f"unix:{path}")
                env["EXTRA"] = path
            web["env"] = env
        self.write()
        return kind
