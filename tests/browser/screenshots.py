"""Makes the pictures of the status page in docs/images: `make screenshots` (needs chromium).

A real pyinit runs some apps in a PID namespace of its own, somebody asks them for pages, and a
headless Chromium looks.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from tests.browser.cdp import Browser
from tests.support import namespace
from tests.support.ports import free_port
from tests.support.run import Run

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
# Seconds in which the graphs grow.
GROW = 75

SERVER = """
import hashlib, http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        for _ in range(int(self.path[1:])): hashlib.sha256(b"x" * 100000).digest()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def main() -> None:
    """Run the apps, look, write the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "server.py").write_text(SERVER)
        probes, web = free_port(), free_port()
        apps = [
            {
                "name": "api",
                "script": "server.py",
                "args": str(web),
                "interpreter": sys.executable,
                "exec_mode": "cluster",
                "instances": 4,
                "listen": f"127.0.0.1:{web}",
            },
            {"name": "worker", "script": "sh -c 'exec sleep 1000'", "instances": 2},
            {"name": "import", "script": "sh -c 'sleep 2; exit 3'", "restart_delay": 300000},
        ]
        with Run(folder, apps, probes={"listen": f"127.0.0.1:{probes}"}) as run:
            run.event("app ready", app="api")
            run.event("worker exited", app="import")
            stop = threading.Event()
            threading.Thread(target=load, args=(web, stop), daemon=True).start()
            with Browser() as browser:
                take(browser, f"http://127.0.0.1:{probes}/")
            stop.set()


def load(port: int, stop: threading.Event) -> None:
    """Ask for pages, now more and now fewer of them."""
    while not stop.is_set():
        work = int(20 + 15 * (time.monotonic() % 12))
        urllib.request.urlopen(f"http://127.0.0.1:{port}/{work}").read()
        time.sleep(0.05)


def take(browser: Browser, url: str) -> None:
    """Each size and scheme; the page is not loaded again, so its graphs stay."""
    browser.open(url, 1180, 800)
    browser.until("document.body.innerText.includes('4 of 4 ready')")
    time.sleep(GROW)
    for name, width, height, dark in (
        ("page-light", 1180, 840, False),
        ("page-dark", 1180, 840, True),
        ("page-phone", 390, 844, False),
    ):
        browser.show(width, height, dark=dark)
        browser.screenshot(IMAGES / f"{name}.png")


if __name__ == "__main__":
    namespace.enter("tests.browser.screenshots")
    main()
