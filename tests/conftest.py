"""Every test runs in a PID namespace of its own: see tests/support/namespace.py."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support import namespace

if sys.dont_write_bytecode:
    # To rewrite the asserts of all tests takes longer than most of them. Where nothing may be
    # written beside the sources (PYTHONDONTWRITEBYTECODE), what comes of it is kept elsewhere.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).resolve().parents[1] / ".cache" / "pycache")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # Workers of pytest-xdist are started by a pytest that is inside already.
    if namespace.inside():
        return
    try:
        command = namespace.reexecute([sys.executable, "-m", "pytest"])
    except namespace.NoNamespaceError as error:
        pytest.exit(f"pyinit's tests refuse to run here: {error}", returncode=3)
    # pytest has put files in the place of stdout and stderr by now; exec keeps those.
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(config.invocation_params.dir)
    # A shell without job control starts what is in the background with these two ignored,
    # and that is inherited, by the tests' programs and by tini too.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    os.execvpe(command[0], [*command, *config.invocation_params.args], namespace.environment())
