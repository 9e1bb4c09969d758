"""A worker's share of the container in the words of its runtime (`memory: auto`)."""

from __future__ import annotations

import pytest

from entrypoint.core.spec import AppSpec
from entrypoint.shell.memory_budget import words

MIB = 1 << 20


def said(command=("run",), env=None, *, memory=200 * MIB, cpus=4, instances=2):
    spec = AppSpec(name="web", command=tuple(command), cwd="/", instances=instances)
    return words(spec, env or {}, memory, cpus)


def test_each_runtime_is_told_in_its_own_words():
    assert said() == {
        "NODE_OPTIONS": "--max-old-space-size=150",
        "GOMEMLIMIT": "180MiB",
        "JAVA_TOOL_OPTIONS": f"-XX:MaxRAM={200 * MIB} -XX:MaxRAMPercentage=70 "
        "-XX:ActiveProcessorCount=2",
        "GOMAXPROCS": "2",
        "OMP_NUM_THREADS": "2",
    }


def test_what_is_said_already_stays():
    env = {
        "NODE_OPTIONS": "--max-old-space-size=99",
        "GOMEMLIMIT": "1GiB",
        "JAVA_TOOL_OPTIONS": "-Xmx64m -XX:ActiveProcessorCount=1",
        "GOMAXPROCS": "1",
        "OMP_NUM_THREADS": "8",
    }
    assert said(env=env) == {}


@pytest.mark.parametrize(
    ("command", "absent"),
    [
        (("node", "--max-old-space-size=99", "app.js"), "NODE_OPTIONS"),
        (("node", "--max_old_space_size=99", "app.js"), "NODE_OPTIONS"),
    ],
)
def test_a_flag_of_the_command_counts(command, absent):
    assert absent not in said(command)


def test_other_options_are_kept():
    env = {"NODE_OPTIONS": "--enable-source-maps", "JAVA_TOOL_OPTIONS": "-Da=b"}
    found = said(("java", "-Xmx64m", "-jar", "a.jar"), env)
    assert found["NODE_OPTIONS"] == "--enable-source-maps --max-old-space-size=150"
    assert found["JAVA_TOOL_OPTIONS"] == "-Da=b -XX:ActiveProcessorCount=2"


def test_without_a_known_limit_only_the_cpus_are_told():
    assert said(memory=0, cpus=1) == {
        "JAVA_TOOL_OPTIONS": "-XX:ActiveProcessorCount=1",
        "GOMAXPROCS": "1",
        "OMP_NUM_THREADS": "1",
    }
