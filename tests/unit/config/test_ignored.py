"""`watch` and `ignore_watch`: what cannot be understood is told where the file is read."""

from __future__ import annotations

import pytest

from entrypoint.config.errors import ConfigErrors


def ignored(folder, pattern: str) -> tuple[str, ...]:
    text = f"apps:\n  - script: app.js\n    ignore_watch:\n      - src\n      - '{pattern}'\n"
    return folder.load(text).plan.apps[0].ignore_watch


@pytest.mark.parametrize(
    "pattern",
    ["*.log", "[!a-z]*", "[]x]", "[!]x]", "[[:alpha:]].js", "[a&&b||~~]", "a[", "{a,b", "\\",
     "/\\.test\\.js$/", "/(readme|license)/i", "[\\/\\\\]\\./", "logs/", "c++/(x)"],
)  # fmt: skip
def test_patterns_that_mean_something(folder, pattern, recwarn) -> None:
    assert ignored(folder, pattern) == ("src", pattern)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ("[z-a].js", "'[z-a].js' is no glob: bad character range"),
        ("/(/", "'/(/' is no regular expression: "),
        ("/a**/i", "is no regular expression: multiple repeat"),
        ("/(a+)+$/", "has a repeat within a repeat: matching it could take for ever"),
    ],
)
def test_others_are_errors_with_their_location(folder, pattern, error) -> None:
    with pytest.raises(ConfigErrors) as caught:
        ignored(folder, pattern)
    (problems,) = caught.value.errors
    assert (problems.line, problems.column, problems.path) == (5, 9, "apps[0].ignore_watch[1]")
    assert error in problems.message


def test_one_pattern_needs_no_list(folder) -> None:
    with pytest.raises(ConfigErrors) as caught:
        folder.load("apps: [{script: app.js, ignore_watch: '[z-a]'}]\n")
    assert caught.value.errors[0].path == "apps[0].ignore_watch"


def test_a_glob_in_watch_is_told_to_be_none(folder) -> None:
    folder.file("src/[id].js")
    text = "apps:\n  - script: app.js\n    watch: [src, 'src/[id].js', 'src/*.js', '!src/x']\n"
    loaded = folder.load(text)
    first, second = loaded.warnings
    assert "3:33: apps[0].watch[2]: 'src/*.js' is taken as a name" in first
    assert "apps[0].watch[3]: '!src/x'" in second
    assert folder.load(text.replace("watch: [", "watch: true # [")).warnings == ()
