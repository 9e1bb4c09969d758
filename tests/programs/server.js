// A Node server to reload: `server.js WHERE MANNER`, or PORT and MANNER in the environment.
// WHERE is a port of 127.0.0.1, or `fd`. It answers `GET /x` with `RELEASE /x`, by the file
// `release` beside it. `polite` closes its server at a stop signal; others end at once.
const fs = require('fs');

const release = fs.readFileSync('release', 'utf8').trim();
const where = process.env.PORT || process.argv[2];
const manner = process.env.MANNER || process.argv[3];
const server = require('http').createServer((q, r) => r.end(release + ' ' + q.url));
const address = where === 'fd' ? { fd: 3 } : { port: +where, host: '127.0.0.1' };
server.listen(address, () => console.log('up'));

const leave = () => process.exit(0);
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, manner === 'polite' ? () => server.close(leave) : leave);
}
