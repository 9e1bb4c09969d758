"""pyinit: a container entrypoint. PID 1 for programs in any language."""

__version__ = "0.2.0"
