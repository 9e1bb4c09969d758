"""Commands to a running pyinit over a unix socket."""
