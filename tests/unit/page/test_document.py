"""The page: one small file, which loads nothing, and a policy under which nothing else runs."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from entrypoint.api import probes
from entrypoint.core.view import View
from entrypoint.http.connection import encode
from entrypoint.http.http1 import Request
from entrypoint.page import document

EMPTY = View((), "running", 1)


@pytest.fixture(scope="module")
def answer():
    return document.document(document._read("index.html"))


def test_it_is_small_and_loads_nothing(answer):
    assert len(answer.body) < 60_000
    html = answer.body.decode()
    places = re.findall(r"""(?:src|href|action|data)=["']([^"']*)""", html)
    assert {place for place in places if place != "data:," and place[0] != "#"} == {
        "status",
        "readyz?verbose",
    }
    assert "http:" not in html.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in html
    assert "@import" not in html
    assert "url(" not in html


def test_the_policy_names_its_script_and_its_style_and_allows_nothing_else(answer):
    policy = next(f for f in answer.fields if f.startswith(b"Content-Security-Policy: ")).decode()
    html = answer.body
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    # Neither a handler nor a style in an attribute: the policy would forbid them.
    assert not re.search(rb"<[^>]*\s(on\w+|style)=", html)
    assert b"innerHTML" not in html
    assert policy in encode(answer, b"now").decode()


def test_without_the_page_there_is_nothing():
    for path in (("",), ("events",)):
        told = probes.answer(Request("GET", path), EMPTY, "all", bytes)
        assert told == probes.NO_PAGE


@pytest.mark.parametrize(
    ("path", "counted"),
    [(("",), "page"), (("events",), "events"), (("", ""), "other"), (("x",), "other")],
)
def test_how_it_is_counted(path, counted):
    assert probes.route(Request("GET", path)) == counted


def test_nothing_is_below_it():
    for path in (("", ""), ("events", "x")):
        told = probes.answer(Request("GET", path), EMPTY, "all", bytes, page=lambda _: None)
        assert told.status == 404
