// The same for a program that node runs itself: loaded by --require.
const fs = require('fs');
if (process.env.METRICS) {
  // It must not keep a program alive that has closed its own server (`serve` at SIGTERM).
  require('http').createServer((q, r) => r.end('metrics\n')).listen(+process.env.METRICS).unref();
}
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000 * +(process.env.BOOT || 0));
if (fs.existsSync(process.env.ZOO_DIR + '/broken')) process.exit(3);
