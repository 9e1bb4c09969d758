"""Several files: of `-c`, and of `include`."""

from __future__ import annotations

import pytest

from entrypoint.cli import parse_run
from entrypoint.config.errors import ConfigErrors
from entrypoint.config.load import load
from entrypoint.core import spec


def app(name: str, more: str = "") -> str:
    return f"apps:\n  - name: {name}\n    script: tool\n{more}"


def names(plan: spec.Plan) -> list[str]:
    return [each.name for each in plan.apps]


def load_all(folder, *files: str) -> spec.Plan:
    return load(files, environ=folder.environ).plan


def failed(folder, *files: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load_all(folder, *files)
    return [str(error) for error in caught.value.errors]


def test_every_c_counts() -> None:
    source = parse_run(["-c", "a.yaml", "--config=b.yaml", "--only", "x"])
    assert source.paths == ("a.yaml", "b.yaml")


def test_the_apps_of_all_files_in_their_order(folder) -> None:
    folder.file("a.yaml", app("a", "probes: {listen: 9400}\n"))
    folder.file("b.json", '{"apps": [{"name": "b", "script": "tool"}], "log": "raw"}')
    plan = load_all(folder, "a.yaml", "b.json")
    assert names(plan) == ["a", "b"]
    assert plan.probes.listen[0].port == 9400
    assert plan.log.format == "raw"
    assert plan.source == "a.yaml"
    assert plan.files == (str(folder.path / "b.json"),)


def test_include_is_relative_to_its_file_and_takes_patterns(folder) -> None:
    folder.file("a.yaml", "include: [sub/b.yaml, 'apps.d/*.yaml', 'none.d/*']\n" + app("a"))
    folder.file("sub/b.yaml", "include: ../c.yaml\n")
    folder.file("c.yaml", app("c", "    env_file: c.env\n"))
    folder.file("apps.d/2.yaml", "- {name: e, script: tool}\n")
    folder.file("apps.d/1.yaml", "{name: d, script: tool, env_file: d.env}\n")
    folder.file("apps.d/d.env", "WHO=d")
    folder.file("c.env", "WHO=c")
    loaded = load("a.yaml", environ=folder.environ)
    assert names(loaded.plan) == ["a", "c", "d", "e"]
    assert [dict(each.env).get("WHO") for each in loaded.plan.apps] == [None, "c", "d", None]
    assert "a.yaml:1:40: include[2]" in loaded.warnings[0]


def test_variables_of_the_environment_name_files(folder) -> None:
    folder.file("prod.yaml", app("p"))
    folder.environ["STAGE"] = "prod"
    assert names(folder.load("include: ${STAGE}.yaml").plan) == ["p"]


def test_messages_name_the_file(folder) -> None:
    folder.file("a.yaml", "include: [b.yaml, c.yaml, d.yaml]\n" + app("a", "probes: 9400\n"))
    folder.file("b.yaml", app("a", "    instances: 1.5\n"))
    folder.file("c.yaml", app("c", "probes: 9400\n"))
    errors = failed(folder, "a.yaml")
    assert len(errors) == 4
    assert errors[0].startswith("a.yaml:1:27: include[2]: there is no file 'd.yaml'")
    assert errors[1].startswith("b.yaml:2:11: apps[0].name: the name 'a' is taken")
    assert "a.yaml:3" in errors[1]
    assert errors[2].startswith("b.yaml:4:16: apps[0].instances: ")
    assert errors[3].startswith("c.yaml:4:9: probes: is already given in a.yaml:5")


def test_a_syntax_error_of_an_included_file(folder) -> None:
    folder.file("a.yaml", "include: b.yaml\n" + app("a"))
    folder.file("b.yaml", "apps: [\n")
    assert failed(folder, "a.yaml")[0].startswith("b.yaml:2:1: ")


@pytest.mark.parametrize("back", ["a.yaml", "./sub/../a.yaml"])
def test_cycles(folder, back) -> None:
    folder.file("sub/x")
    folder.file("a.yaml", "include: b.yaml\n" + app("a"))
    folder.file("b.yaml", f"include: {back}\n")
    (error,) = failed(folder, "a.yaml")
    assert error.startswith("b.yaml:1:10: include: a file cannot include itself: a.yaml → b.yaml")


def test_a_file_counts_once(folder) -> None:
    folder.file("a.yaml", "include: [b.yaml, c.yaml]\n" + app("a"))
    folder.file("b.yaml", "include: c.yaml\n")
    folder.file("c.yaml", app("c"))
    assert failed(folder, "a.yaml") == [
        "a.yaml:1:19: include[1]: 'c.yaml' is already included by b.yaml:1"
    ]
    assert failed(folder, "c.yaml", "c.yaml") == ["c.yaml: c.yaml is already included by -c"]


def test_a_file_that_only_includes_and_no_app_anywhere(folder) -> None:
    folder.file("b.yaml", "apps: []\n")
    assert folder.errors("include: b.yaml\n") == ["ecosystem.yaml:1:1: apps: has no app"]
