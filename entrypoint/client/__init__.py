"""Commands to a running pyinit, and `pyinit health`: never imported by PID 1."""
