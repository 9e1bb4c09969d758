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
        # Braces within braces; without a comma they are none.
        (("*.{css,{js,map}}",), "/app/x.map", True),
        (("*.{css,{js,map}}",), "/app/x.css}", False),
        (("{a,b{c,d}}/{x,y}",), "/app/bd/y", True),
        (("a{b}.js",), "/app/a{b}.js", True),
        (("{a,b",), "/app/{a,b", True),
        # Two stars that are not a whole name stay within a folder.
        (("**.js",), "/app/a.js", True),
        (("**.js",), "/app/src/a.js", False),
        (("s**/a.js",), "/app/src/a.js", True),
        (("s**/a.js",), "/app/src/b/a.js", False),
        (("**/x/**",), "/app/a/x/b/c", True),
        (("?.js",), "/app/ö.js", True),
        (("[äö].js",), "/app/ö.js", True),
        (("a*",), "/app/a\nb", True),
        # Classes: a `]` that comes first is one of it; a negated one has no slash in it.
        (("[]x].js",), "/app/].js", True),
        (("[!]x].js",), "/app/a.js", True),
        (("[!]x].js",), "/app/].js", False),
        (("src[!x]a.js",), "/app/src/a.js", False),
        (("[[x].js",), "/app/[.js", True),
        # Regular expressions.
        ((r"/\.log$/",), "/app/logs/x.log", True),
        ((r"/[\/\\]\./",), "/app/.git/HEAD", True),
        ((r"/README/i",), "/app/readme/x", False),  # no metacharacter: a path
        ((r"/(README|LICENSE)/i",), "/app/readme", True),
        # PM2's default.
        ((), "/app/.git", True),
        ((), "/app/node_modules/x", True),
        ((), "/app/src/a.js", False),
        ((), "/app/src/.cache/x", True),
        ((), "/app/lib/node_modules/x/a.js", True),
        ((), "/app/node_modules_of_mine/a.js", False),
        # What editors leave while they save, whatever is ignored (chokidar's `atomic`).
        ((), "/app/src/a.js~", True),
        (("src",), "/app/lib/.a.js.swp", True),
        (("src",), "/app/lib/.a.js.swx", True),
        (("src",), "/app/lib/a.js~", True),
        (("src",), "/app/lib/.subl3f2.tmp", True),
        (("src",), "/app/lib/a.swp", False),
        # The regular expression of PM2's own documentation, which is a text there.
        ((r"[\/\\]\./",), "/app/a/.git/HEAD", True),
        ((r"[\/\\]\./",), "/app/a/b.js", False),
        # A character that would be special stands for itself behind a backslash.
        ((r"a\[1\].js", "*.log"), "/app/a[1].js", True),
        # What Kubernetes swaps is never ignored.
        ((), "/app/..data", False),
        (("*",), "/app/..data", False),
    ],
)
def test_ignored_as_in_pm2(patterns: tuple[str, ...], path: str, expected: bool) -> None:
    assert ignorer(patterns, "/app")(path.encode()) is expected


@pytest.mark.parametrize(
    ("cwd", "path", "expected"),
    [
        ("/srv/.releases/7", "/srv/.releases/7/a.js", False),
        ("/srv/.releases/7", "/srv/.releases/7/.env", True),
        ("/usr/lib/node_modules/app", "/usr/lib/node_modules/app/a.js", False),
        ("/usr/lib/node_modules/app", "/usr/lib/node_modules/app/node_modules/x", True),
    ],
)
def test_by_default_only_names_below_the_folder_count(cwd, path, expected) -> None:
    assert ignorer((), cwd)(path.encode()) is expected


def test_by_default_names_below_another_root_count_from_there() -> None:
    ignored = ignorer((), "/app", ("/app", "/srv/.shared/lib"))
    assert ignored(b"/srv/.shared/lib/a.js") is False
    assert ignored(b"/srv/.shared/lib/.git/x") is True


@pytest.mark.parametrize("cwd", ["/srv/app[1]", "/srv/{a,b}", "/srv/a*b", "/srv/a\\b"])
def test_the_name_of_the_folder_is_no_glob(cwd) -> None:
    for pattern in ("*.log", "sub/../*.log", "./*.log", "**/x.*"):
        assert ignorer((pattern,), cwd)(f"{cwd}/x.log".encode()) is True
    assert ignorer(("../*.log",), cwd)(b"/srv/x.log") is True


def test_names_that_are_not_utf8_are_matched_too() -> None:
    assert ignorer(("logs",), "/app")(b"/app/logs/\xff") is True
    assert ignorer(("**/*.log",), "/app")(b"/app/\xff.log") is True


def test_a_wrong_expression_is_an_error_of_the_file() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        ignorer(("/(/",), "/app")
