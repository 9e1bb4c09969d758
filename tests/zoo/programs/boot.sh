#!/bin/sh
# A slow start: opens a metrics port first (METRICS), waits (BOOT seconds), then becomes the
# program. A release marked broken ends instead of serving.
[ -n "$METRICS" ] && python3 "$PROGRAMS/metrics.py" "$METRICS" &
sleep "${BOOT:-0}"
[ -e "$ZOO_DIR/broken" ] && exit 3
exec "$@"
