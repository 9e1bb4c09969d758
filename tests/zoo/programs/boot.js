// The same for a program that node runs itself: loaded by --require.
const fs = require('fs');
if (process.env.METRICS) {
  const metrics = require('http').createServer((q, r) => r.end('metrics\n')).listen(+process.env.METRICS);
  // A program that closes its server at SIGTERM (`serve`) closes this one too.
  const hook = (name) => {
    if (name !== 'SIGTERM') return;
    process.off('newListener', hook);
    process.on('SIGTERM', () => metrics.close());
  };
  process.on('newListener', hook);
}
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000 * +(process.env.BOOT || 0));
if (fs.existsSync(process.env.ZOO_DIR + '/broken')) process.exit(3);
