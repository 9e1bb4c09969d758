"""A core that never returns is a test that fails, not one that hangs."""

from __future__ import annotations

import signal

import pytest

from tests.support import examples

examples.choose()

# CPU time of one test (s); the machine of test_machine.py has many histories.
CPU_LIMIT = 20
MACHINE_LIMIT = 3600


@pytest.fixture(autouse=True)
def ends_in_time(request):
    def late(_number, _frame):
        raise AssertionError("the core does not come back")

    before = signal.signal(signal.SIGVTALRM, late)
    machine = "test_machine" in request.node.nodeid
    signal.setitimer(signal.ITIMER_VIRTUAL, MACHINE_LIMIT if machine else CPU_LIMIT)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)
