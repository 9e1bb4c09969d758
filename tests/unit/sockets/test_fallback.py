"""What becomes of an app where no filter can be put on its workers."""

from __future__ import annotations

from entrypoint.core.spec import AppSpec, ListenSpec, Plan
from entrypoint.sockets.fallback import adapt

PORT = (ListenSpec("inet", "127.0.0.1", 5000),)


def app(*command: str, **keys) -> AppSpec:
    keys = {"listen": PORT, "share": "slots", "exec_mode": "cluster", **keys}
    return AppSpec("web", command or ("server",), "/", **keys)


def adapted(spec: AppSpec, reason: str = "refused") -> tuple[AppSpec, tuple[str, ...]]:
    plan, said = adapt(Plan(apps=(spec,)), lambda: reason)
    return plan.apps[0], said


def never() -> str:
    raise AssertionError("nobody depends on it")


def test_nothing_changes_where_a_filter_can_be():
    assert adapted(app(), "") == (app(), ())


def test_a_single_worker_gets_its_address_to_bind():
    spec, said = adapted(app("server", "--port", "{port}", env=(("PORT", "{port}"),)))
    assert (spec.listen, spec.share) == ((), "none")
    assert spec.command == ("server", "--port", "5000")
    assert spec.env == (("PORT", "5000"),)
    assert len(said) == 1


def test_several_keep_theirs_and_are_told():
    spec, said = adapted(app(instances=2))
    assert spec == app(instances=2)
    assert len(said) == 1


def test_a_node_program_in_fork_mode_speaks_nodes_protocol():
    spec, said = adapted(app("node", "a.js", node=True, exec_mode="fork"))
    assert spec.handoff == "node"
    assert spec.listen == PORT
    assert said == ()


def test_what_starts_node_without_the_channel_is_no_node_program():
    spec, _ = adapted(app("npm", "start", node=True))
    assert spec.share == "none"


def test_it_is_not_asked_when_nobody_depends_on_it():
    for spec in (
        app(listen=()),
        app("server", "{fd}"),
        app(env=(("FD", "{fd}"),)),
        app(handoff="fds"),
        app("node", "a.js", node=True),
        app(listen=(), share="none", exec_mode="fork"),
    ):
        assert adapt(Plan(apps=(spec,)), never) == (Plan(apps=(spec,)), ())
