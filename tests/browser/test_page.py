"""The status page in a headless Chromium. `make browser` installs one and runs this."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser.cdp import CHROMIUM, Browser
from tests.support.commands import pyinit
from tests.support.ports import free_port
from tests.support.run import Run, get

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not CHROMIUM, reason="no chromium: the status page is NOT tried in a browser (make browser)"
    ),
]

EVIL = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
NOTIFY = f"""
import os, socket, time
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(
    b"STATUS=" + {EVIL!r}.encode(), os.environ["NOTIFY_SOCKET"])
time.sleep(1000)
"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A pyinit with an app that serves, one that crashes, and one with hostile words."""
    folder = tmp_path_factory.mktemp("served")
    port, web = free_port(), free_port()
    (folder / "server.py").write_text(
        f"import http.server as h\nh.ThreadingHTTPServer(('127.0.0.1', {web}), "
        "h.BaseHTTPRequestHandler).serve_forever()\n"
    )
    (folder / "notify.py").write_text(NOTIFY)
    apps = [
        {
            "name": "web",
            "script": "server.py",
            "interpreter": "python3",
            "exec_mode": "cluster",
            "instances": 2,
            "listen": f"127.0.0.1:{web}",
        },
        {"name": "crashy", "script": "sh -c 'exit 3'", "restart_delay": 600000},
        {"name": EVIL, "script": "notify.py", "interpreter": "python3"},
    ]
    with Run(folder, apps, probes={"listen": f"127.0.0.1:{port}"}) as run:
        run.port = port
        run.event("app ready", app="web")
        run.event("worker exited", app="crashy")
        yield run


TEXT = "document.body.innerText"


def test_what_a_person_sees(browser: Browser, served: Run) -> None:
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(f"http://127.0.0.1:{served.port}/")
    browser.until(f"{TEXT}.includes('live') && {TEXT}.includes('2 of 2 ready')")
    shown = str(browser.js(TEXT))
    assert "exit code 3" in shown
    assert "waiting restart" in shown
    assert "crashy: 0 of 1 workers ready" in shown
    assert "wait" in shown  # the queue of web's address
    # What a worker says is text, and the policy holds.
    browser.until(f"{TEXT}.includes({json.dumps(EVIL)})")
    assert browser.js("document.title") == "✗ pyinit"
    assert browser.js("document.images.length") == 0
    assert browser.complaints == []
    here = f"http://127.0.0.1:{served.port}/"
    assert {url for url in browser.requests if url != "data:,"} == {here, f"{here}events"}
    # Two readings make a graph.
    browser.until(
        "[...document.querySelectorAll('svg path')].some(p => /L/.test(p.getAttribute('d')))"
    )
    assert "1e" not in str(browser.js("document.querySelector('svg').ariaLabel"))


def test_a_change_comes_by_itself_and_is_said(browser: Browser, served: Run) -> None:
    browser.open(f"http://127.0.0.1:{served.port}/")
    browser.until(f"{TEXT}.includes('2 of 2 ready')")
    assert pyinit(served, "scale", "web", "1").returncode == 0
    browser.until(f"{TEXT}.includes('1 of 1 ready')")
    assert pyinit(served, "stop", "web").returncode == 0
    browser.until("/web 0 is (stopping|stopped)/.test(document.getElementById('said').textContent)")
    assert pyinit(served, "start", "web").returncode == 0
    assert pyinit(served, "scale", "web", "2").returncode == 0
    browser.until(f"{TEXT}.includes('2 of 2 ready')")


def test_the_keyboard_and_the_screen_reader(browser: Browser, served: Run) -> None:
    browser.open(f"http://127.0.0.1:{served.port}/")
    browser.until(f"{TEXT}.includes('2 of 2 ready')")
    found = browser.accessible()
    assert ("searchbox", "Filter") in found
    assert ("button", "Pause") in found
    assert ("heading", "web") in found
    assert ("table", "Workers of web") in found
    assert ("columnheader", "Restarts") in found
    assert any(role == "rowheader" for role, _ in found)
    assert any(role == "status" for role, _ in found)
    focused = []
    for _ in range(3):
        browser.press("Tab", number=9)
        focused.append(
            browser.js("document.activeElement.textContent || document.activeElement.id")
        )
    assert focused == ["To the apps", "filter", "Pause"]
    browser.press("/")
    assert browser.js("document.activeElement.id") == "filter"
    for letter in "crash":
        browser.press(letter)
    rows = "[...document.querySelectorAll('tbody tr')].filter(r => r.checkVisibility()).length"
    assert browser.js(rows) == 1
    browser.press("Escape", number=27)
    assert browser.js(rows) == 4
    browser.press("p")
    browser.until("document.getElementById('pause').ariaPressed === 'true'")
    served.until(lambda: viewers(served) == 0, "paused: nobody is asked")
    browser.press("p")
    browser.until("document.getElementById('line').textContent === 'live'")


def viewers(run: Run) -> int:
    """Those who look, from the metrics: our own question is a client too."""
    page = get(run.port, "/metrics")[1]
    return int(page.partition("\npyinit_probe_clients ")[2].split()[0]) - 1


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (360, 740)], ids=["desktop", "phone"])
def test_it_fits_and_can_be_read(
    browser: Browser, served: Run, width: int, height: int, dark: bool
) -> None:
    browser.open(f"http://127.0.0.1:{served.port}/", width, height, dark=dark)
    browser.until(f"{TEXT}.includes('2 of 2 ready')")
    assert browser.js("document.documentElement.scrollWidth") <= width
    # WCAG 2.2, 1.4.3: 4.5 to 1 for text.
    contrasts = browser.js("""
      (() => {
        const rgb = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const light = (c) => rgb(c).map(v => v / 255)
          .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
          .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
        const ground = (node) => {
          for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (!/, 0\\)$/.test(colour)) return colour;
          }
        };
        return [...document.querySelectorAll('h1,h2,span,td,th,dt,dd,button,footer,li')]
          .filter(n => n.checkVisibility() && n.textContent.trim())
          .map(n => [light(getComputedStyle(n).color), light(ground(n)), n.textContent])
          .map(([a, b, t]) => [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), t]);
      })()""")
    assert len(contrasts) > 30
    assert [each for each in contrasts if each[0] < 4.5] == []


def test_screenshots_can_be_made(browser: Browser, served: Run, tmp_path: Path) -> None:
    browser.open(f"http://127.0.0.1:{served.port}/")
    browser.until(f"{TEXT}.includes('live')")
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
