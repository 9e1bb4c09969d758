// A plain node server that knows nothing of pyinit: four of these share port 3000.
'use strict';
const http = require('node:http');

let draining = false;

const server = http.createServer((request, response) => {
  if (draining) response.setHeader('connection', 'close');
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ instance: process.env.NODE_APP_INSTANCE, pid: process.pid }) + '\n');
});

server.listen(process.env.PORT || 3000);

// `shutdown.notify`: still everything is answered, and clients are not to send more here.
process.on('SIGUSR2', () => { draining = true; });

process.on('SIGTERM', () => {
  // What is in hand is finished; idle connections are closed.
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
