"""JSON records for people, for `pyinit logs`: the console's form of what stdout has."""

from __future__ import annotations

import json

from entrypoint.logs.schema import STDERR, Keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.logs.console import Style

RED_BAR = b"\x1b[31m|\x1b[0m"


class Rendering:
    """Lines as the console shows them; what is no record of ours stays as it is."""

    def __init__(self, style: Style, keys: Keys | None = None) -> None:
        self._style = style
        self._keys = keys or Keys()

    def line(self, line: bytes) -> bytes:
        """One line with its end, for one with its end."""
        try:
            record = json.loads(line)
        except ValueError:
            return line
        if not isinstance(record, dict) or self._keys.event not in record:
            return self._worker(record) if isinstance(record, dict) else line
        if "stream" in record:
            return self._worker(record)
        keys = self._keys
        when, level, event = (
            str(record.pop(k, "")) for k in (keys.timestamp, keys.level, keys.event)
        )
        return self._style.event(when, level, event, record)

    def _worker(self, record: dict[str, object]) -> bytes:
        # A worker's own object keeps its fields; what we added says whose it is.
        app, instance, stream, _ = (
            record.pop(f"pyinit_{name}" if f"pyinit_{name}" in record else name, "")
            for name in ("app", "instance", "stream", "pid")
        )
        record.pop("partial", None)
        record.pop("base64", None)
        keys = self._keys
        rest = {k: v for k, v in record.items() if k not in (keys.timestamp, keys.level)}
        if set(rest) == {keys.event}:
            text = str(rest[keys.event])
        else:
            text = json.dumps(rest, ensure_ascii=False)
        bar = RED_BAR if stream == STDERR and self._style.colour else b"|"
        label = self._style.label(f"{app}:{instance}", str(app))
        return label + b" " + bar + b" " + text.encode("utf-8", "replace") + b"\n"
