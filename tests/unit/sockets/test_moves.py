"""Which addresses go from one app to another when the file is read again."""

from __future__ import annotations

from entrypoint.core.spec import AppSpec, ListenSpec
from entrypoint.sockets.addresses import first_form
from entrypoint.sockets.listener_registry import moves

A, B = ListenSpec("inet", "127.0.0.1", 80), ListenSpec("unix", path="/run/b.sock")
FORM_A, FORM_B = first_form(A), first_form(B)


def app(name: str, *listen: ListenSpec) -> AppSpec:
    return AppSpec(name, (name,), "/", listen=listen)


def held(**apps: ListenSpec) -> dict[str, frozenset]:
    return {name: frozenset((first_form(spec),)) for name, spec in apps.items()}


def test_what_stays_or_is_new_does_not_move() -> None:
    assert moves(held(web=A), (app("web", A), app("api", B))) == {}


def test_an_app_with_another_name_takes_the_address() -> None:
    assert moves(held(web=A), (app("www", A.replace(backlog=1)),)) == {"www": {FORM_A: "web"}}


def test_two_may_change_places() -> None:
    found = moves(held(a=A, b=B), (app("a", B), app("b", A)))
    assert found == {"a": {FORM_B: "b"}, "b": {FORM_A: "a"}}


def test_nothing_is_taken_from_one_that_keeps_it() -> None:
    assert moves(held(a=A), (app("a", A), app("b", A))) == {}
