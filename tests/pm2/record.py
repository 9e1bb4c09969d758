"""Runs every file of files.py under the real PM2 and keeps what its programs said.

    python -m tests.pm2.record [NAME…]

The tests compare pyinit with recorded.json, and a few files with PM2 itself.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.pm2.files import CASES
from tests.pm2.harness import PM2, RECORDED, prepare, run


def main(names: list[str]) -> None:
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    recorded = {name: recorded[name] for name in CASES if name in recorded}
    for name in names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), name)
            command = ["node", str(PM2 / "bin/pm2-runtime"), "start"]
            recorded[name] = run(Path(folder), name, command)
            found = len(recorded[name])
            print(f"{name}: {found} of {CASES[name]['count']}", flush=True)
            if found != CASES[name]["count"]:
                print((Path(folder) / "log").read_text())
    RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
