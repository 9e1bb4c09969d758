"""Logs: worker lines and our own events, one record a line on stdout."""
