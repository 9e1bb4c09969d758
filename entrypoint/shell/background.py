"""Detects a program that went into the background: its first process exits, another one runs on.

Under an init that looks like repeated exits with code 0. The background process can be found:
it became a child of PID 1 and has the worker's mark in its environment, or, if the program
has erased that, the worker's name and a later start time.
"""

from __future__ import annotations

import os

from entrypoint.kernel import proc, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from entrypoint.core.spec import AppSpec

# A worker that ran for longer has done more than fork and exit (s).
QUICKLY = 60.0
# How many processes are named.
_NAMED = 3

# How to keep programs in the foreground that daemonize by default or are often configured to.
_FOREGROUND = {
    "apache2": "apache2ctl -D FOREGROUND",
    "avahi-daemon": "without -D",
    "clamd": "--foreground",
    "cron": "cron -f",
    "crond": "crond -f",
    "dnsmasq": "dnsmasq -k",
    "gunicorn": "without --daemon",
    "haproxy": "haproxy -db, and no `daemon` in its file",
    "httpd": "httpd -DFOREGROUND",
    "lighttpd": "lighttpd -D",
    "memcached": "memcached without -d",
    "mongod": "mongod without --fork",
    "named": "named -f",
    "nginx": "nginx -g 'daemon off;'",
    "php-fpm": "php-fpm -F",
    "postfix": "postfix start-fg",
    "proftpd": "proftpd --nodaemon",
    "pure-ftpd": "pure-ftpd without -B",
    "redis-server": "redis-server --daemonize no",
    "rsyslogd": "rsyslogd -n",
    "slapd": "slapd -d 0",
    "snmpd": "snmpd -f",
    "squid": "squid -N",
    "sshd": "sshd -D",
    "supervisord": "supervisord -n",
    "unicorn": "unicorn without -D",
    "uwsgi": "uwsgi without --daemonize",
    "valkey-server": "valkey-server --daemonize no",
    "varnishd": "varnishd -F",
    "vsftpd": "vsftpd -obackground=NO",
}


def left_behind(
    incarnation: int, pid: int, spec: AppSpec, workers: Container[int], uptime: float
) -> tuple[int, ...]:
    """Processes of a worker that has just ended that became children of PID 1."""
    found = []
    since = _ticks_now() - (uptime + 1.0) * proc.TICKS
    name = os.path.basename(spec.command[0])
    for orphan in tree.reparented(workers):
        said = tree.mark_of(orphan)
        if said is not None:
            ours = said.incarnation == incarnation
        else:
            known = proc.stat(orphan)
            ours = known is not None and known.started >= since and proc.name(orphan) == name[:15]
        if ours and orphan != pid:
            found.append(orphan)
    return tuple(found)


def _ticks_now() -> float:
    import time

    return time.clock_gettime(time.CLOCK_BOOTTIME) * proc.TICKS


def explain(pids: tuple[int, ...]) -> str:
    """A sentence that says what to do."""
    names = [proc.name(pid) or "?" for pid in pids]
    shown = ", ".join(
        f"{name} (pid {pid})" for name, pid in zip(names[:_NAMED], pids, strict=False)
    )
    if len(pids) > _NAMED:
        shown += f" and {len(pids) - _NAMED} more"
    lives = "lives" if len(pids) == 1 else "live"
    advice = next((_FOREGROUND[base] for name in names if (base := _known(name))), "")
    how = f": {advice}" if advice else ""
    return f"it went into the background: {shown} {lives} on; run it in the foreground{how}"


def _known(name: str) -> str:
    """The entry of the table for names such as `php-fpm8.2` or `nginx:`."""
    base = name.rstrip(":").rstrip("0123456789.")
    return next((each for each in (name, base) if each in _FOREGROUND), "")
