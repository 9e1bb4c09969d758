// The same for a program that node runs itself: loaded by --require.
const fs = require('fs');
if (process.env.METRICS) {
  require('http').createServer((q, r) => r.end('metrics\n')).listen(+process.env.METRICS);
}
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000 * +(process.env.BOOT || 0));
if (fs.existsSync(process.env.ZOO_DIR + '/broken')) process.exit(3);
