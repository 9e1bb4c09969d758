from __future__ import annotations

import datetime as dt
import json

from hypothesis import given
from hypothesis import strategies as st

from entrypoint.logs import schema

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)  # fmt: skip


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_stamps_are_rfc3339_with_microseconds(nanoseconds):
    text = schema.stamp(nanoseconds)
    assert len(text) == len("2026-01-02T03:04:05.678901Z")
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    expected = epoch + dt.timedelta(microseconds=nanoseconds // 1000)
    assert dt.datetime.fromisoformat(text) == expected


@given(JSON)
def test_encode_is_json(value):
    assert json.loads(schema.encode(value)) == value


def test_encode_takes_everything():
    value = {1: (float("nan"), float("-inf"), object, b"x"), "\udcff": "\udcff\0"}
    assert json.loads(schema.encode(value)) == {
        "1": ["nan", "-inf", "<class 'object'>", "b'x'"],
        "?": "?\0",
    }
