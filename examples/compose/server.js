// A plain node server that knows nothing of pyinit: four of these share port 3000.
'use strict';
const http = require('node:http');

const server = http.createServer((request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ instance: process.env.NODE_APP_INSTANCE, pid: process.pid }) + '\n');
});

server.listen(process.env.PORT || 3000);

process.on('SIGTERM', () => {
  // What is in hand is finished; idle connections are closed.
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
