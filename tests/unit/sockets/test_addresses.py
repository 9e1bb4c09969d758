from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.core.spec import ListenSpec
from entrypoint.sockets.addresses import (
    Form,
    form_as_asked,
    means_serve,
    meant,
    ports_of_serve,
)
from entrypoint.sockets.sockaddr import Asked, parse

BARE = ListenSpec("inet6", host="::", port=80)
ANY4 = ListenSpec("inet", host="0.0.0.0", port=80)
LOCAL4 = ListenSpec("inet", host="127.0.0.1", port=80)
ONLY6 = ListenSpec("inet6", host="::", port=80, v6only=True)


@given(st.binary(max_size=140))
def test_any_bytes_parse_or_do_not(data):
    asked = parse(data)
    if asked is not None:
        assert asked.family in ("inet", "inet6", "unix")
        assert 0 <= asked.port < 65536


@given(st.integers(0, 65535), st.ip_addresses(v=4))
def test_inet(port, address):
    data = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + address.packed + bytes(8)
    assert parse(data) == Asked("inet", host=str(address), port=port)
    assert parse(data[:15]) is None


@given(st.integers(0, 65535), st.ip_addresses(v=6), st.integers(0, 2**32 - 1))
def test_inet6(port, address, scope):
    data = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 7) + address.packed
    asked = parse(data + struct.pack("=I", scope))
    assert (asked.port, asked.scope) == (port, scope)
    assert ipaddress.ip_address(asked.host) == address
    assert parse(data).scope == 0


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"/run/a\0junk", "/run/a"),
        (b"a.sock", "a.sock"),
        (b"@a", "./@a"),
        (b"\0name", "@name"),
        (b"\0a\0b", None),
        (b"\0", None),
        (b"", None),
    ],
)
def test_unix(name, path):
    asked = parse(struct.pack("=H", socket.AF_UNIX) + name)
    assert (asked.path if asked else None) == path


@pytest.mark.parametrize(
    ("spec", "asked", "v6only", "form"),
    [
        # A bare port is whatever the worker's family makes of it.
        (BARE, Asked("inet6", "::", 80), False, Form("inet6", "::", 80)),
        (BARE, Asked("inet6", "::", 80), True, Form("inet6", "::", 80, v6only=True)),
        (BARE, Asked("inet6", "::1", 80), False, Form("inet6", "::", 80, v6only=True)),
        (BARE, Asked("inet", "0.0.0.0", 80), False, Form("inet", "0.0.0.0", 80)),
        (BARE, Asked("inet", "127.0.0.1", 80), False, Form("inet", "0.0.0.0", 80)),
        # The file confines.
        (LOCAL4, Asked("inet", "0.0.0.0", 80), False, Form("inet", "127.0.0.1", 80)),
        (LOCAL4, Asked("inet6", "::", 80), False, Form("inet6", "::ffff:127.0.0.1", 80)),
        (ANY4, Asked("inet6", "::ffff:10.0.0.1", 80), False, Form("inet6", "::ffff:0.0.0.0", 80)),
        # Another address is another address.
        (LOCAL4, Asked("inet", "10.0.0.1", 80), False, None),
        (LOCAL4, Asked("inet6", "::1", 80), False, None),
        (ANY4, Asked("inet6", "::", 80), True, None),
        (ONLY6, Asked("inet", "0.0.0.0", 80), False, None),
        (ONLY6, Asked("inet6", "::", 80), False, Form("inet6", "::", 80, v6only=True)),
        (BARE, Asked("inet", "0.0.0.0", 81), False, None),
        (BARE, Asked("unix", path="/a"), False, None),
    ],
)
def test_forms(spec, asked, v6only, form):
    found = meant((spec,), asked, v6only=v6only)
    assert (found[1] if found else None) == form


def test_the_exact_address_comes_first():
    both = (ONLY6.replace(host="::1"), ANY4, LOCAL4)
    assert meant(both, Asked("inet", "127.0.0.1", 80), v6only=False)[0] == 2
    assert meant(both, Asked("inet", "0.0.0.0", 80), v6only=False)[0] == 1


@given(
    st.sampled_from([BARE, ANY4, LOCAL4, ONLY6]),
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.booleans(),
)
def test_a_worker_always_gets_its_own_family(spec, address, v6only):
    asked = Asked("inet" if address.version == 4 else "inet6", str(address), 80)
    found = meant((spec,), asked, v6only=v6only)
    if found is not None:
        assert found[1].family == asked.family
        assert found[1].port == 80


def test_overlaps():
    dual = form_as_asked(Asked("inet6", "::", 80), v6only=False)
    only6 = form_as_asked(Asked("inet6", "::", 80), v6only=True)
    only4 = form_as_asked(Asked("inet", "0.0.0.0", 80), v6only=False)
    assert dual.overlaps(only6) and dual.overlaps(only4) and not only4.overlaps(only6)


@pytest.mark.parametrize(
    ("line", "serve"),
    [
        ("serve -s build -l 5000", True),
        ("/usr/bin/node /usr/local/bin/serve -l 5000", True),
        ("node /app/node_modules/.bin/serve", True),
        ("node /app/node_modules/serve/build/main.js", True),
        ("npx serve -s build", True),
        ("npx serve@14 -s build", True),
        ("npx --yes serve", True),
        ("node server.js", False),
        ("node observe", False),
        ("next start", False),
        ("", False),
    ],
)
def test_serve_is_known_by_its_command_line(line, serve):
    assert means_serve(tuple(line.split())) == serve


@pytest.mark.parametrize(
    ("line", "ports"),
    [
        ("serve -s build -l 5000", (5000,)),
        ("serve -l tcp://0.0.0.0:5000 --listen=5001 -p 80", (5000, 5001, 80)),
        ("serve --listen", ()),
        ("serve -l unix:/a -l 99999 -l 0", ()),
    ],
)
def test_ports_of_serve(line, ports):
    assert ports_of_serve(tuple(line.split())) == ports
