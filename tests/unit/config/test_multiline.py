"""`multiline`, of the log and of an app, and the patterns that PID 1 does not take."""

from __future__ import annotations

import pytest

from entrypoint.config.errors import ConfigErrors
from entrypoint.config.load import load


def rules(tmp_path, log: str, app: str = "") -> list[str]:
    path = tmp_path / "e.yaml"
    path.write_text(
        "apps:\n- {name: a, script: /bin/true" + app + "}\n- {name: b, script: /bin/true}\n" + log
    )
    return [app.multiline for app in load(str(path), environ={}).plan.apps]


def test_where_it_can_be_said(tmp_path) -> None:
    assert rules(tmp_path, "") == ["", ""]
    assert rules(tmp_path, "log: raw\n") == ["", ""]
    assert rules(tmp_path, "log: {multiline: true}\n") == ["auto", "auto"]
    assert rules(tmp_path, "log: {multiline: true}\n", ", multiline: false") == ["", "auto"]
    assert rules(tmp_path, "", ", multiline: {start: '\\d+ '}") == ["^\\d+ ", ""]


@pytest.mark.parametrize(
    "pattern",
    ["^\\d{4}-\\d\\d-\\d\\d[T ]", "^\\[\\w+\\]", "(INFO|WARN|ERROR)\\b", "(?i)^level=",
     "(\\d\\d:){2}", "^<\\d{1,3}>", "[^ ]+ [^ ]+ [^ ]+", "(?:\\.\\d+)?x", "é"],
)  # fmt: skip
def test_patterns_of_real_logs(tmp_path, pattern) -> None:
    assert rules(tmp_path, "", f", multiline: {{start: '{pattern}'}}")[0] == f"^{pattern}"


@pytest.mark.parametrize(
    ("multiline", "error"),
    [
        ("maybe", "log.multiline: must be true or false"),
        ("[a]", "log.multiline: must be true or false"),
        ("{}", "log.multiline: needs a `start`"),
        ("{begin: x}", "log.multiline.begin: is not a known key"),
        ("{start: '('}", "log.multiline.start: is no regular expression"),
        ("{start: '(a+)+$'}", "repeat within a repeat"),
        ("{start: '(a|a)*b'}", "choice within a repeat"),
        ("{start: '(a*){4}b'}", "more than 3 repeats"),
        ("{start: '.*.*.*.*x'}", "more than 3 repeats"),
        ("{start: '((a{1,90}){4})x'}", "more than 3 repeats"),
        ("{start: '(a)\\1'}", "refers back"),
        ("{start: '(?=(a+)+b)'}", "repeat within a repeat"),
    ],
)
def test_what_is_refused(tmp_path, multiline, error) -> None:
    with pytest.raises(ConfigErrors) as caught:
        rules(tmp_path, f"log: {{multiline: {multiline}}}\n")
    assert error in str(caught.value)
