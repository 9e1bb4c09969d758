"""The engine itself, without pyinit: when these fail, the others mean nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.container.engine import Engine

SERVER = ("python3", "-m", "http.server", "8000")


def test_a_container_answers_on_its_address_and_on_a_published_port(
    engine: Engine, base_image: str
) -> None:
    with engine.container(
        base_image, "--init", "--publish=127.0.0.1:0:8000", command=SERVER
    ) as container:
        assert container.answers(8000).status == 200
        assert engine.get(*container.published(8000)).status == 200


def test_the_machine_does_not_see_the_engines_network(engine: Engine, base_image: str) -> None:
    before = set(os.listdir("/sys/class/net"))
    with engine.container(base_image, "--init", command=SERVER) as container:
        container.answers(8000)
        assert not {name for name in set(os.listdir("/sys/class/net")) - before if "veth" in name}
        with open("/proc/net/fib_trie", encoding="ascii") as routes:
            assert container.address() not in routes.read()


def test_an_exit_code_comes_back(engine: Engine, base_image: str) -> None:
    with engine.container(base_image, command=("sh", "-c", "exit 7")) as container:
        assert container.wait() == 7
