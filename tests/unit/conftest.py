"""What holds for all pure tests."""

from __future__ import annotations

from tests.support import examples

examples.choose()
