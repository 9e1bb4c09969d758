"""The status page of the probe port: `GET /`, live by `GET /events`. Loaded when first asked."""
