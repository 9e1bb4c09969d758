"""Logs: lines of workers and pyinit's own events, one record a line on stdout."""
