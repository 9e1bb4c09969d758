"""pyinit as the parent and cluster primary of Node workers."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections import Counter

import pytest

from tests.support.portlab import Lab, get, spec
from tests.support.ports import free_port
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")


def program(tmp_path, source: str, *args: str) -> list[str]:
    """A file: only a main module gets the cluster (node looks at argv[1])."""
    (tmp_path / "app.js").write_text(source)
    return ["node", str(tmp_path / "app.js"), *args]


def as_raw(tmp_path) -> list[str]:
    """The program has the channel as a bare descriptor, FD."""
    hide = "FD=$NODE_CHANNEL_FD; unset NODE_CHANNEL_FD NODE_UNIQUE_ID; export FD; "
    return ["sh", "-c", f"{hide} exec node {tmp_path}/app.js"]


def test_ready_by_message_in_fork_mode_leaves_the_process_free_to_end(tmp_path):
    source = "process.send('ready'); process.send({own: [1, 2]}); "
    source += "console.log(require('cluster').isWorker)"
    command = program(tmp_path, source)
    with Lab(command, node=True, exec_mode="fork", share="none", wait_ready=True) as lab:
        worker = lab.start(0)
        wait_until(lambda: lab.happened("ready", worker))
        wait_until(lambda: lab.happened("message", worker) == [{"message": {"own": [1, 2]}}])
        wait_until(lambda: lab._ended(worker))
        assert worker.status == 0
        assert lab.text() == "false\n"


def test_a_cluster_worker_is_one_and_leaves_gracefully(tmp_path):
    port = free_port()
    source = f"""
const cluster = require('cluster');
console.log(cluster.isWorker, cluster.isPrimary, cluster.worker.id > 0);
const server = require('http').createServer((q, s) => setTimeout(() => s.end('done'), 300));
server.listen({port}, () => process.send('ready'));
const w = cluster.worker;
w.on('disconnect', () => console.log('disconnect', w.exitedAfterDisconnect));
process.on('message', (m) => console.log('told', m));
"""
    with Lab(program(tmp_path, source), node=True, wait_ready=True) as lab:
        worker = lab.run(1)[0]
        wait_until(lambda: lab.happened("ready", worker))
        with lab.lock:
            lab.ports.send_message(worker.incarnation, "shutdown")
        wait_until(lambda: "told shutdown" in lab.text())
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            wait_until(lambda: lab.queue(0) == 0)
            with lab.lock:
                lab.ports._channels[worker.incarnation].disconnect()
            # What it has accepted it finishes.
            assert b"".join(iter(lambda: client.recv(1000), b"")).endswith(b"done")
        wait_until(lambda: lab._ended(worker))
        assert worker.status == 0
        assert lab.text().splitlines()[0] == "true false true"
        assert "disconnect true" in lab.text()
        assert lab.happened("disconnected", worker)


def test_what_cluster_workers_listen_on(tmp_path):
    """Random ports, unix sockets, descriptors, datagrams, closing and listening again."""
    port, path = free_port(), str(tmp_path / "n.sock")
    source = f"""
const net = require('net'), dgram = require('dgram'), assert = require('assert');
const on = (where) => new Promise((done, fail) => {{
  const s = net.createServer((c) => c.end(process.env.SLOT));
  s.once('error', fail); s.listen(where, () => done(s)); }});
(async () => {{
  const random = (await on({{port: 0}})).address().port;
  await on({{path: {path!r}}});
  const a = await on({{port: {port}, host: '127.0.0.1'}});
  await assert.rejects(on({{port: {port}, host: '127.0.0.1'}}), {{code: 'EADDRINUSE'}});
  await new Promise((done) => a.close(done));
  await on({{port: {port}, host: '127.0.0.1'}});
  await assert.rejects(on({{port: {port}, host: '192.0.2.1'}}), {{code: 'EADDRNOTAVAIL'}});
  await assert.rejects(on({{fd: 99}}), {{code: 'EBADF'}});
  await on({{fd: 3}});
  const u = dgram.createSocket('udp4');
  await new Promise((done) => u.bind({port}, done));
  console.log('random', random);
  process.send('ready');
}})().catch((e) => {{ console.log(e); process.exit(1); }});
"""
    other = free_port()
    listen = (spec(f"127.0.0.1:{other}"),)
    with Lab(program(tmp_path, source), node=True, wait_ready=True, listen=listen) as lab:
        workers = [lab.start(0), lab.start(1)]
        for worker in workers:
            wait_until(lambda w=worker: lab.happened("ready", w) or lab._ended(w))
            assert lab.happened("ready", worker), lab.text()
        lab.steer(0, 1)
        randoms = {line for line in lab.text().splitlines() if line.startswith("random")}
        assert len(randoms) == 1  # as in every Node cluster
        for at in (other, port, int(randoms.pop().split()[1])):
            answers = Counter()
            for _ in range(40):
                with socket.create_connection(("127.0.0.1", at)) as client:
                    answers[client.recv(9)] += 1
            assert set(answers) == {b"0", b"1"}
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            assert client.recv(9) in (b"0", b"1")


def test_a_worker_that_is_a_cluster_of_its_own(tmp_path):
    """It sees that it is no primary, as under PM2; without the protocol it is one."""
    port = free_port()
    source = f"""
const cluster = require('cluster');
console.log('primary', cluster.isPrimary);
if (cluster.isPrimary) {{ cluster.fork(); cluster.fork(); }}
else require('http').createServer((q, s) => s.end(process.env.SLOT)).listen({port});
"""
    for handoff, primary in (("auto", "primary false"), ("intercept", "primary true")):
        with Lab(program(tmp_path, source), node=True, handoff=handoff) as lab:
            lab.run(2)
            assert lab.text().splitlines()[0] == primary
            assert {get(port) for _ in range(60)} == {"0", "1"}


def test_hostile_messages(tmp_path):
    source = """
const fs = require('fs'), fd = +process.env.FD;
const put = (b) => { b = Buffer.from(b); for (let o = 0; o < b.length;) {
  try { o += fs.writeSync(fd, b, o); } catch (e) { if (e.code != 'EAGAIN') throw e; } } };
put('{"cmd":"NODE_CLUSTER"\\n\\n\\0\\xff\\n[[[[' + '['.repeat(100000) + '\\n');
put('{"cmd":"NODE_CLUSTER","act":"queryServer","port":' + '9'.repeat(4000) + '}\\n');
for (const m of [{act: 'queryServer'}, {act: 'queryServer', port: -5, address: {}},
  {act: 'queryServer', port: 70000, address: '::'}, {act: 7}, {act: 'queryServer', port: 1.5},
  {act: 'queryServer', port: 5000, address: 'not-an-address', addressType: 4},
  {act: 'queryServer', address: '/' + 'x'.repeat(300), port: -1, addressType: -1},
  {act: 'queryServer', address: '/\\ud800', port: -1, addressType: -1},
  {act: 'queryServer', fd: 1e9}, {act: 'queryServer', fd: 0},
  {act: 'listening'}, {act: 'close'}, {act: 'exitedAfterDisconnect'}])
  put(JSON.stringify({cmd: 'NODE_CLUSTER', seq: 1, ...m}) + '\\n');
put('x'.repeat(3e6) + '\\n');
put('"ready"\\n');
put('z'.repeat(3e6));
setInterval(() => {}, 1000);
"""
    (tmp_path / "app.js").write_text(source)
    command = as_raw(tmp_path)
    with Lab(command, node=True) as lab:
        worker = lab.start(0)
        wait_until(lambda: lab.happened("ready", worker) or lab._ended(worker))
        assert lab.happened("ready", worker), lab.text()
        assert not lab.bound()


def test_a_worker_that_asks_without_end_and_never_reads(tmp_path):
    source = """
const fs = require('fs'), fd = +process.env.FD;
let sent = 0;
setInterval(() => { try { for (;;) { fs.writeSync(fd, JSON.stringify({cmd: 'NODE_CLUSTER',
  act: 'exitedAfterDisconnect', seq: sent}) + '\\n'); sent++; } } catch (e) {
  if (e.code == 'EAGAIN') console.log('full'); } }, 10);
"""
    (tmp_path / "app.js").write_text(source)
    command = as_raw(tmp_path)
    with Lab(command, node=True) as lab:
        lab.start(0)
        channel = lab.ports._channels[1]
        os.set_blocking(channel.child_fd, False) if channel.child_fd >= 0 else None
        wait_until(lambda: channel._size >= 200_000)
        end = time.monotonic() + 0.3
        wait_until(lambda: time.monotonic() > end)
        assert channel._size < 600_000
        assert len(channel._outgoing) < 40_000


PROBES = """
const net = require('net'), os = require('os'), http = require('http')
const want = +process.argv[2], hosts = [undefined, '0.0.0.0', '127.0.0.1']
const free = (host) => new Promise((yes, no) => {
  const s = net.createServer()
  s.on('error', (e) => (['EADDRNOTAVAIL', 'EINVAL'].includes(e.code) ? yes() : no(e)))
  s.listen({ port: want, host }, () => s.close(yes))
});
(async () => {
  for (const host of hosts) await free(host)
  http.createServer((q, r) => r.end(process.env.SLOT)).listen(want, () => console.log('serves'))
})()
"""


@pytest.mark.parametrize("handoff", ["auto", "intercept"])
def test_a_program_that_tries_its_port_first_finds_it_free(tmp_path, handoff):
    """As get-port, detect-port and vite's do."""
    port = free_port()
    script = tmp_path / "app.js"
    script.write_text(PROBES)
    with Lab(["node", str(script), str(port)], node=True, handoff=handoff) as lab:
        for slot in range(3):
            lab.start(slot)
        wait_until(lambda: lab.text().count("serves") == 3, lab.text)
        lab.steer(0, 1, 2)
        assert {get(port) for _ in range(40)} == {"0", "1", "2"}
        assert lab.ports.addresses == (f"[::]:{port}",)


CHILD = """
const port = process.argv[2]
const child = require('child_process').spawn('python3', ['-c', `
import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["SLOT"].encode())
http.server.HTTPServer(("127.0.0.1", ${port}), H).serve_forever()
`], { stdio: 'inherit' })
child.on('exit', (code) => process.exit(code || 1))
"""


def test_node_workers_have_no_filter_until_something_else_listens(tmp_path):
    port = free_port()
    script = tmp_path / "app.js"
    script.write_text(CHILD)
    command = ["node", str(script), str(port)]
    with Lab(command, node=True, handoff="auto", instances=2, listen_timeout=1.0) as lab:
        first = lab.start(0)
        assert not lab.ports.wants_filter()
        wait_until(lambda: lab.happened("unfit", first), "its child is seen to listen", timeout=30)
        assert [event for _, event, _ in lab.logged] == ["filter used from now on"]
        lab.stop(first, 9)
        lab.run(2)
        assert {get(port) for _ in range(20)} == {"0", "1"}
