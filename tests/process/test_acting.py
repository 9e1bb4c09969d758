"""What PID 1 does for a worker is what the worker could have done: addresses by users.

The same program tries to bind one address of each kind, as one user after the other: alone,
and as a worker of a root pyinit with Docker's capabilities and more groups than the worker.
The kernel's answers must be the same. In a network namespace where ports below 1024 are
privileged.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from entrypoint.kernel import credentials
from tests.support.run import Run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")

DOCKER = (
    "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,"
    "sys_chroot,mknod,audit_write,setfcap"
)
NETWORK = (
    "ip link set lo up; echo 1024 > /proc/sys/net/ipv4/ip_unprivileged_port_start; "
    'exec setpriv --pdeathsig KILL --groups 0,1 --bounding-set -all,{caps} -- "$@"'
).format(caps=",".join(f"+{name}" for name in DOCKER.split(",")))
WRAP = ("unshare", "--net", "sh", "-c", NETWORK, "sh")

PROGRAM = """
import errno, json, os, socket, sys, time
folder, number, dropped = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
if dropped:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
kinds = {
    "tcp4": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 2000 + number)),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 2100 + number)),
    "any4": (socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 2200 + number)),
    "privileged4": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 100 + number)),
    "privileged6": (socket.AF_INET6, socket.SOCK_STREAM, ("::", 200 + number)),
    "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 300 + number)),
    "abstract": (socket.AF_UNIX, socket.SOCK_STREAM, f"\\0{folder}/{number}"),
    **{
        name: (socket.AF_UNIX, socket.SOCK_STREAM, f"{folder}/{name}/{number}.sock")
        for name in ("open", "root", "group0", "nobody", "link", "none")
    },
}
said = {}
for kind, (family, type, address) in kinds.items():
    with socket.socket(family, type) as sock:
        try:
            sock.bind(address)
            said[kind] = "bound"
            if "/" in str(address) and kind != "abstract":
                found = os.stat(address)
                said[kind] = f"bound: {found.st_uid} {found.st_gid} {found.st_mode & 0o777:o}"
                os.unlink(address)
        except OSError as error:
            said[kind] = errno.errorcode[error.errno]
print("said", json.dumps(said), flush=True)
if os.environ.get("STAY"):
    time.sleep(1000)
"""

# Other users may not be let into the folder of ours.
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
USERS = {
    "root": (),
    "root with less": ("setpriv", "--bounding-set", "-net_bind_service,-dac_override", "--"),
    "nobody": NOBODY,
    "nobody in a group": ("setpriv", "--reuid=65534", "--regid=65534", "--groups=1,2", "--"),
    "nobody with more": (
        *NOBODY,
        "--inh-caps=+net_bind_service",
        "--ambient-caps=+net_bind_service",
    ),
    "nobody called root": (*NOBODY, "unshare", "--user", "--map-root-user"),
    "nobody without exec": (),
}


def folders(top: Path) -> Path:
    top.chmod(0o755)
    (top / "open").mkdir()
    (top / "open").chmod(0o777)
    (top / "root").mkdir(mode=0o700)
    (top / "group0").mkdir()
    (top / "group0").chmod(0o775)
    (top / "nobody").mkdir()
    os.chown(top / "nobody", 65534, 65534)
    (top / "link").symlink_to("root")
    (top / "program.py").write_text(PROGRAM)
    return top


def words(top: Path, number: int, user: str) -> list[str]:
    drop = ["drop"] if user.endswith("without exec") else []
    return [*USERS[user], PYTHON, str(top / "program.py"), str(top), str(number), *drop]


def alone(top: Path) -> dict[str, dict[str, str]]:
    """What the kernel says to each user."""
    script = "".join(
        "umask 027; " + " ".join(words(top, number, user)) + "\n"
        for number, user in enumerate(USERS, 1)
    )
    run = subprocess.run(
        [*WRAP, "sh", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("said ")]
    assert len(lines) == len(USERS), run.stderr
    return dict(zip(USERS, (json.loads(line[5:]) for line in lines), strict=True))


@pytest.fixture
def top(tmp_path_factory) -> Path:
    # Not below pytest's own folder, which is closed to other users.
    found = Path(tempfile.mkdtemp(prefix="acting-", dir="/tmp"))
    found.chmod(0o755)
    yield folders(found)
    shutil.rmtree(found)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="there is no `setpriv`")
def test_each_kind_of_address_as_each_kind_of_user(top, tmp_path) -> None:
    expected = alone(top)
    for kind in ("tcp4", "tcp6", "abstract"):
        assert {said[kind] for said in expected.values()} == {"bound"}
    for user in ("nobody", "nobody called root", "root with less"):
        assert expected[user]["privileged4"] == "EACCES"
    apps = [
        {
            "name": user,
            "script": "sh",
            "args": ["-c", 'umask 027; exec "$@"', "sh", *words(top, number, user)],
            "exec_mode": "cluster",
            "instances": 1,
            "env": {"STAY": "1"},
        }
        for number, user in enumerate(USERS, 1)
    ]
    with Run(tmp_path, apps, wrap=WRAP) as run:
        lines = run.said("said ", count=len(USERS))
        said = {line["app"]: json.loads(line["event"][5:]) for line in lines}
        for user, answers in said.items():
            assert answers == expected[user], user


# -- taking on credentials, and getting our own back --------------------------------------

NOBODY_BUT_PORTS = credentials.Credentials(65534, 65534, (1, 2), 1 << 10)


def status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    names = ("Uid", "Gid", "Groups", "CapEff", "CapPrm", "CapInh")
    return {
        name: value.strip()
        for name, _, value in (li.partition(":") for li in lines)
        if name in names
    }


def test_all_of_the_credentials_are_taken_on_and_given_back():
    before = status()
    seen = credentials.act_as(NOBODY_BUT_PORTS, status)
    assert seen["Uid"].split() == ["0", "65534", "0", "65534"]
    assert seen["Gid"].split() == ["0", "65534", "0", "65534"]
    assert seen["Groups"] == "1 2"
    assert int(seen["CapEff"], 16) == 1 << 10
    assert status() == before
    # Undumpable it would be closed to every debugger and to root without CAP_SYS_PTRACE.
    assert credentials._system().dumpable() == 1


def test_what_is_raised_meanwhile_comes_through_and_leaves_nothing():
    before = status()

    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        credentials.act_as(NOBODY_BUT_PORTS, fail)
    assert status() == before


@pytest.mark.parametrize("name", ["setgroups", "setegid", "seteuid"])
def test_credentials_that_cannot_be_taken_on_are_given_back(monkeypatch, name):
    before = status()
    real = getattr(os, name)

    def refuse(value):
        if value in (NOBODY_BUT_PORTS.groups, 65534):
            raise PermissionError(1, "refused")
        return real(value)

    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(PermissionError):
        credentials.act_as(NOBODY_BUT_PORTS, lambda: pytest.fail("it was done all the same"))
    assert status() == before


@pytest.mark.parametrize("name", ["setgroups", "setegid", "seteuid"])
def test_the_way_back_is_tried_again(monkeypatch, name):
    before = status()
    real = getattr(os, name)
    shortages = [MemoryError(), OSError(12, "no memory"), MemoryError()]

    def short(value):
        if value not in (NOBODY_BUT_PORTS.groups, 65534) and shortages:
            raise shortages.pop()
        return real(value)

    monkeypatch.setattr(os, name, short)
    assert credentials.act_as(NOBODY_BUT_PORTS, os.geteuid) == 65534
    assert not shortages and status() == before


def test_nobody_goes_on_as_another_user(monkeypatch):
    """Where the way back stays closed the process ends."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
        credentials._RESUME_WITHIN = 0.05
        real = os.seteuid

        def refuse(value):
            if value == 0:
                raise OSError(12, "no memory")
            real(value)

        os.seteuid = refuse
        try:
            credentials.act_as(NOBODY_BUT_PORTS, lambda: None)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 70


def test_a_process_in_another_user_namespace_has_no_capabilities_here():
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        script = f"import os; os.write({ready[1]}, b'x'); os.read({done[0]}, 1)"
        os.set_inheritable(ready[1], True)
        os.set_inheritable(done[0], True)
        words = ["unshare", "--user", "--map-root-user", PYTHON, "-c", script]
        os.execvp(words[0], words)
    os.close(ready[1])
    if not os.read(ready[0], 1):
        pytest.skip("no user namespaces here")
    found = credentials.caller(pid)
    os.write(done[1], b"x")
    os.waitpid(pid, 0)
    assert not found.namespace
    assert found.credentials.replace(groups=()) == credentials.Credentials(65534, 65534, (), 0)


NODE = """
const dgram = require('dgram'), net = require('net');
const [folder, number] = [process.argv[2], +process.argv[3]];
const said = {};
const kinds = {
  tcp4: {port: 2400 + number, host: '127.0.0.1'},
  tcp6: {port: 2500 + number, host: '::1'},
  privileged4: {port: 400 + number, host: '127.0.0.1'},
  privileged6: {port: 500 + number, host: '::'},
  udp4: {udp: 'udp4', port: 600 + number, host: '127.0.0.1'},
  udp6: {udp: 'udp6', port: 700 + number, host: '::1'},
  'udp4 of all': {udp: 'udp4', port: 2600 + number},
  abstract: {path: `\\0${folder}/node-${number}`},
};
for (const name of ['open', 'root', 'group0', 'nobody', 'link', 'none'])
  kinds[name] = {path: `${folder}/${name}/node-${number}.sock`};
let left = Object.keys(kinds).length;
const done = (kind, what) => {
  said[kind] = what;
  if (!--left) console.log('said ' + JSON.stringify(said));
  if (!left && !process.env.STAY) process.exit();
};
for (const [kind, where] of Object.entries(kinds)) {
  const server = where.udp ? dgram.createSocket(where.udp) : net.createServer();
  server.on('error', (error) => done(kind, error.code));
  const bound = () => done(kind, 'bound');
  if (where.udp) server.bind(where.port, where.host, bound); else server.listen(where, bound);
}
"""


@pytest.mark.skipif(not shutil.which("node"), reason="there is no `node`")
@pytest.mark.skipif(not shutil.which("setpriv"), reason="there is no `setpriv`")
def test_each_kind_of_address_over_nodes_protocol(top, tmp_path) -> None:
    """PID 1 is the cluster primary, and lends a worker nothing either."""
    (top / "program.js").write_text(NODE)
    node = shutil.which("node")
    users = {"root": [], "nobody": list(NOBODY), "less": list(USERS["root with less"])}
    expected = {}
    for number, (user, before) in enumerate(users.items(), 1):
        words = [*WRAP, *before, node, str(top / "program.js"), str(top), str(number)]
        run = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        expected[user] = json.loads(run.stdout.removeprefix("said "))
        for path in top.glob("*/node-*.sock"):
            path.unlink()
    assert expected["nobody"]["udp4"] == expected["less"]["privileged6"] == "EACCES"
    apps = [
        {
            "name": user,
            "script": str(top / "program.js"),
            "args": [str(top), str(number)],
            "interpreter": node,
            "exec_mode": "cluster",
            "instances": 1,
            "handoff": "node",
            "env": {"STAY": "1"},
            "cwd": "/",
        }
        for number, user in enumerate(users, 1)
    ]
    apps[1]["user"] = "nobody"
    less = " ".join(users["less"])
    (top / "node").write_text(f'#!/bin/sh\nexec {less} {node} "$@"\n')
    (top / "node").chmod(0o755)
    apps[2]["interpreter"] = str(top / "node")
    with Run(tmp_path, apps, wrap=WRAP) as run:
        lines = run.said("said ", count=len(users))
        for line in lines:
            assert json.loads(line["event"][5:]) == expected[line["app"]], line["app"]
