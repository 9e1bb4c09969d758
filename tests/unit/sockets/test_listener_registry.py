"""Which addresses an app keeps between two files."""

from __future__ import annotations

from entrypoint.core.spec import ListenSpec
from entrypoint.sockets.address import Address
from entrypoint.sockets.addresses import first_form
from entrypoint.sockets.group import Group
from entrypoint.sockets.listener_registry import ListenerRegistry


def address(spec: ListenSpec) -> Address:
    made = Address(spec)
    made.declared = spec
    form = first_form(spec)
    made.groups[form] = Group(form, 16)
    return made


def test_what_an_earlier_file_declared_and_a_worker_bound_again_is_closed_with_that_worker():
    registry = ListenerRegistry()
    kept = address(ListenSpec("inet", "127.0.0.1", 5000))
    kept.group.users.add(2)
    left = address(ListenSpec("inet", "127.0.0.1", 5001))
    registry.declared, registry.leaving = [kept], [left]
    again, form = Address(None), left.identity
    assert registry.take_back(form, again)
    again.group.users.add(1)
    # Its worker still serves.
    assert registry.trim() == []
    assert list(registry.lasting) == [kept, again]
    again.group.users.clear()
    assert registry.trim() == [again]
    assert list(registry.lasting) == [kept]
