"""Addresses that go from one app to another when the file is read again.

An app with another name is one that goes and one that comes, but its address stays. To
close it and bind it anew would reset its queue, and while workers of before hold it, it
could not be bound at all. So its sockets are handed on, and those workers accept on them
until they are stopped.
"""

from __future__ import annotations

from . import addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.core.spec import AppSpec

    from .addresses import Form


def moves(
    declared: Mapping[str, frozenset[Form]], apps: tuple[AppSpec, ...]
) -> dict[str, dict[Form, str]]:
    """Which address an app of the new file takes, and from whom: `{app: {form: giver}}`.

    `declared`: what each app that there is has declared. Nothing is taken from one that
    declares it in the new file too.
    """
    wanted = {app.name: {addresses.first_form(spec) for spec in app.listen} for app in apps}
    givers = {
        form: name
        for name, forms in declared.items()
        for form in forms
        if form not in wanted.get(name, ())
    }
    found = {}
    for name, forms in wanted.items():
        missing = forms - declared.get(name, frozenset())
        found[name] = {form: givers[form] for form in missing if form in givers}
    return {name: forms for name, forms in found.items() if forms}
