"""Records under each preset: pyinit's own events, lines of text, and lines that are objects."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.client.records import Rendering
from entrypoint.logs.console import Style
from entrypoint.logs.events import Events
from entrypoint.logs.layout import LEVEL_NAMES, NAMEABLE, PRESETS, layout
from entrypoint.logs.schema import LEVELS, encode
from entrypoint.logs.wrap import JsonWrapper

AT = 1_767_323_045_678_901_234
WHEN = "2026-01-02T03:04:05.678901Z"
EVENT = {"app": "web", "instance": 1, "pid": 27, "exit_code": 3, "exception": "Traceback"}


def line(preset: str, data: bytes, names=()) -> list[dict]:
    made = layout(preset, names)
    wrapper = JsonWrapper(made.lines("web", 1, 27, "stderr"))
    when = made.stamp(AT)
    records = wrapper.feed(data, when) + wrapper.end(when)
    return [json.loads(record) for record in records.splitlines()]


def event(preset: str, level: str = "info", fields=None) -> dict:
    made = layout(preset)
    return json.loads(encode(made.record(made.stamp(AT), level, "worker exited", fields or EVENT)))


TEXT = {
    "default": {
        "timestamp": WHEN, "level": "info", "event": "hi",
        "app": "web", "instance": 1, "pid": 27, "stream": "stderr",
    },
    "gcp": {
        "time": WHEN, "severity": "INFO", "message": "hi",
        "app": "web", "instance": 1, "pid": 27, "stream": "stderr",
    },
    "ecs": {
        "@timestamp": WHEN, "log.level": "info", "message": "hi", "service.name": "web",
        "pyinit.instance": 1, "process.pid": 27, "pyinit.stream": "stderr",
        "ecs.version": "8.11.0",
    },
    "datadog": {
        "timestamp": WHEN, "status": "info", "message": "hi", "service": "web",
        "instance": 1, "pid": 27, "stream": "stderr",
    },
    "otel": {
        "Timestamp": str(AT), "SeverityText": "INFO", "SeverityNumber": 9, "Body": "hi",
        "Attributes": {"log.iostream": "stderr"},
        "Resource": {"service.name": "web", "pyinit.instance": 1, "process.pid": 27},
    },
}  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_a_line_of_text(preset) -> None:
    [record] = line(preset, b"hi\n")
    assert record == TEXT[preset]
    assert list(record)[:3] == list(TEXT[preset])[:3]


@pytest.mark.parametrize("preset", PRESETS)
def test_parts_and_exact_bytes(preset) -> None:
    made = layout(preset)
    wrapper = JsonWrapper(made.lines("web", 1, 27, "stderr"))
    written = wrapper.feed(b"\xffabcdddd", made.stamp(AT), 4) + wrapper.end(made.stamp(AT))
    records = [json.loads(record) for record in written.splitlines()]
    if preset == "otel":
        first, second = (record["Attributes"] for record in records)
        prefix = "pyinit."
    else:
        first, second = records
        prefix = ""
    assert first[f"{prefix}partial"] is True
    assert first[f"{prefix}base64"] == "/2FiYw=="
    assert f"{prefix}partial" not in second


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "otel"])
def test_an_object_keeps_its_fields_and_gains_ours(preset) -> None:
    [record] = line(preset, b'{"msg":"x","n":1.50}\n')
    expected = {k: v for k, v in TEXT[preset].items() if v != "hi"}
    assert record == {**expected, "msg": "x", "n": 1.5}


def test_an_object_is_the_body_of_the_data_model() -> None:
    [record] = line("otel", b'{"msg":"x","Body":{},"app":2}\n')
    assert record == {**TEXT["otel"], "Body": {"msg": "x", "Body": {}, "app": 2}}
    [record] = line("otel", b'{"level":"error"}\n')
    assert "SeverityText" not in record
    assert "SeverityNumber" not in record
    [record] = line("otel", b"{}\n")
    assert record["Body"] == {}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", sorted(LEVEL_NAMES))
def test_a_worker_that_says_its_level_is_not_contradicted(preset, name) -> None:
    [record] = line(preset, json.dumps({name: "error", "n": 1}).encode() + b"\n")
    body = record["Body"] if preset == "otel" else record
    assert body.pop(name) == "error"
    assert not {"level", "severity", "log.level", "status", "SeverityText"} & set(record)


def test_nested_fields_of_the_service_are_clashes_too() -> None:
    [record] = line("ecs", b'{"service":{"name":"shop"},"log":{"level":"warn"}}\n')
    assert record["service"] == {"name": "shop"}
    assert "service.name" not in record
    assert record["pyinit_app"] == "web"
    assert "log.level" not in record


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)
NAMES = st.sampled_from(
    [*NAMEABLE, "time", "message", "service", "service.name", "ecs.version", "log", "msg", "x",
     "pyinit_app", "pyinit_pyinit_app", "severity", "Body", "é"]
)  # fmt: skip


@given(
    st.sampled_from(sorted(PRESETS)),
    st.lists(st.dictionaries(NAMES, VALUES, max_size=5), min_size=1, max_size=6),
    st.booleans(),
)
def test_objects_come_out_whole_whatever_clashes(preset, objects, spaces) -> None:
    dumps = [json.dumps(each, separators=None if spaces else (",", ":")) for each in objects]
    records = line(preset, "".join(f"{each}\n" for each in dumps).encode())
    assert len(records) == len(objects)
    for record, given_object in zip(records, objects, strict=True):
        if preset == "otel":
            assert record["Body"] == given_object
            continue
        for name, value in given_object.items():
            assert record[name] == value
        for role, value in (("app", "web"), ("instance", 1), ("pid", 27), ("stream", "stderr")):
            key = getattr(PRESETS[preset], role)
            positions = [
                key,
                f"pyinit_{role}",
                f"pyinit_pyinit_{role}",
                f"pyinit_pyinit_pyinit_{role}",
            ]
            ours = [
                record[position]
                for position in positions
                if position in set(record) - set(given_object)
            ]
            assert ours == [value]


def test_own_events_by_preset() -> None:
    assert event("gcp", "warning") == {
        "time": WHEN, "severity": "WARNING", "message": "worker exited", **EVENT,
    }  # fmt: skip
    written = event("ecs", "error")
    assert (written["log.level"], written["service.name"], written["process.pid"]) == (
        "error",
        "web",
        27,
    )
    assert written["error.stack_trace"] == "Traceback"
    assert written["ecs.version"] == "8.11.0"
    written = event("otel", "critical")
    assert (written["SeverityText"], written["SeverityNumber"]) == ("FATAL", 21)
    assert written["Attributes"] == {"exit_code": 3, "exception.stacktrace": "Traceback"}
    assert written["Resource"] == {"service.name": "web", "pyinit.instance": 1, "process.pid": 27}
    assert "Resource" not in event("otel", fields={"n": 1})


def test_no_field_of_an_event_is_lost_for_its_name() -> None:
    written = event("datadog", fields={"status": 503, "message": "m", "service": "s", "app": "web"})
    assert written["status"] == "info"
    assert (written["pyinit_status"], written["pyinit_message"]) == (503, "m")
    assert {written["service"], written["pyinit_service"]} == {"s", "web"}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("level", LEVELS)
def test_the_words_for_levels(preset, level) -> None:
    written = event(preset, level)
    key = PRESETS[preset].level
    published = {
        # LogSeverity; Datadog's status remapper reads the beginning of the word.
        "gcp": {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"},
        "otel": {"DEBUG", "INFO", "WARN", "ERROR", "FATAL"},
    }
    assert written[key] in published.get(preset, set(LEVELS))


def test_names_of_ones_own_beside_a_preset() -> None:
    [record] = line("gcp", b"hi\n", (("app", "service"), ("event", "text")))
    assert (record["severity"], record["service"], record["text"]) == ("INFO", "web", "hi")


@pytest.mark.parametrize("load", [True, False])
def test_structlog_tells_the_same_by_every_preset(load) -> None:
    for preset in PRESETS:
        written: list[bytes] = []
        events = Events(written.append, layout=layout(preset))
        if load:
            events.load()
        else:
            events.release()
        events.emit(AT, "info", "worker exited", EVENT)
        assert json.loads(written[0]) == event(preset)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_people_are_shown_is_the_same_by_every_preset(preset) -> None:
    check_shown(Rendering(Style(colour=False), preset), preset)
    # From before the file named another preset.
    for other in PRESETS:
        check_shown(Rendering(Style(colour=False), other), preset)


def check_shown(rendering, preset) -> None:
    shown = rendering.line(encode(event(preset, "warning"))).decode()
    assert shown.startswith("pyinit | 03:04:05.678 warning worker exited  web:1  ")
    # A record of the data model has them in another order.
    assert set(shown.split()[-3:]) == {"pid=27", "exit_code=3", "exception=Traceback"}
    for data, shown in ((b"hi\n", "hi"), (b'{"n":1}\n', '{"n": 1}')):
        made = layout(preset)
        record = JsonWrapper(made.lines("web", 1, 27, "stdout")).feed(data, made.stamp(AT))
        assert rendering.line(record).decode() == f"web:1  | {shown}\n"
