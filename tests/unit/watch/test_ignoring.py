"""`ignore_watch`, against what PM2 and chokidar 3 do with the same texts."""

from __future__ import annotations

import pytest

from entrypoint.watch.ignoring import ignorer


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        # Plain names: relative to cwd, with all below.
        (("src",), "/app/src", True),
        (("src",), "/app/src/a/b.js", True),
        (("src",), "/app/src2", False),
        (("src",), "/app/lib/src", False),
        (("README.md",), "/app/README.md", True),
        (("./public",), "/app/public/x.css", True),
        (("/var/cache",), "/var/cache/x", True),
        (("a.b",), "/app/aXb", False),
        # Globs.
        (("*.log",), "/app/x.log", True),
        (("*.log",), "/app/logs/x.log", False),
        (("**/*.log",), "/app/logs/deep/x.log", True),
        (("**/*.log",), "/app/x.log", True),
        (("logs/**",), "/app/logs/a/b", True),
        (("**/tmp/**",), "/app/a/tmp/b", True),
        (("file?.txt",), "/app/file1.txt", True),
        (("file?.txt",), "/app/file/.txt", False),
        (("*.{css,map}",), "/app/x.map", True),
        (("[ab].js",), "/app/c.js", False),
        (("[!ab].js",), "/app/c.js", True),
        (("*",), "/app/.env", True),
        # Regular expressions.
        ((r"/\.log$/",), "/app/logs/x.log", True),
        ((r"/[\/\\]\./",), "/app/.git/HEAD", True),
        ((r"/README/i",), "/app/readme/x", False),  # no metacharacter: a path
        ((r"/(README|LICENSE)/i",), "/app/readme", True),
        # PM2's default.
        ((), "/app/.git", True),
        ((), "/app/node_modules/x", True),
        ((), "/app/src/a.js", False),
        # What Kubernetes swaps is never ignored.
        ((), "/app/..data", False),
        (("*",), "/app/..data", False),
    ],
)
def test_ignored_as_in_pm2(patterns: tuple[str, ...], path: str, expected: bool) -> None:
    assert ignorer(patterns, "/app")(path.encode()) is expected


def test_names_that_are_not_utf8_are_matched_too() -> None:
    assert ignorer(("logs",), "/app")(b"/app/logs/\xff") is True
    assert ignorer(("**/*.log",), "/app")(b"/app/\xff.log") is True


def test_a_wrong_expression_is_an_error_of_the_file() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        ignorer(("/(/",), "/app")
