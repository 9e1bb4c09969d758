// `GET /?S` is answered after S seconds. BLOCK: the event loop is blocked meanwhile, by a sleep,
// so that the load costs no CPU. CLUSTER: so many workers by Node's own cluster module.
const cluster = require('cluster');
const http = require('http');
const lock = new Int32Array(new SharedArrayBuffer(4));

function answer(request, response) {
  const wait = 1000 * Number(request.url.split('?')[1] || 0);
  if (process.env.BLOCK) {
    Atomics.wait(lock, 0, 0, wait);
    response.end('ok');
  } else setTimeout(() => response.end('ok'), wait);
}

if (process.env.CLUSTER && cluster.isPrimary) {
  for (let i = 0; i < Number(process.env.CLUSTER); i++) cluster.fork();
} else http.createServer(answer).listen(Number(process.env.PORT), '127.0.0.1');
