// Node's servers: `node node.js NAME PORT|PATH`.
const [, , name, where] = process.argv;
const at = /^\d+$/.test(where) ? +where : where;
const answer = (url) => `${process.pid} ${url}`;
const plain = (q, r) => r.end(answer(q.url));
const cjs = {
  http: () => require('http').createServer(plain).listen(at),
  http4: () => require('http').createServer(plain).listen(at, '127.0.0.1'),
  net: () => require('net').createServer((s) => {
    s.on('error', () => {});
    s.once('data', (d) => { const b = answer(String(d).split(' ')[1]); s.end(`HTTP/1.0 200 OK\r\nContent-Length: ${b.length}\r\n\r\n${b}`); });
  }).listen(at),
  http2c: () => require('http2').createServer(plain).listen(at),
  express: () => { const a = require('express')(); a.use((q, r) => r.send(answer(q.url))); a.listen(at); },
  fastify: () => { const a = require('fastify')(); a.get('/*', async (q) => answer(q.url)); a.listen(typeof at === 'number' ? { port: at, host: '0.0.0.0' } : { path: at }); },
  koa: () => { const K = require('koa'); const a = new K(); a.use((c) => { c.body = answer(c.url); }); a.listen(at); },
  hapi: async () => { const s = require('@hapi/hapi').server({ port: at, host: '0.0.0.0' }); s.route({ method: 'GET', path: '/{x*}', handler: (q) => answer(q.path) }); await s.start(); },
  polka: () => { const a = require('polka')(); a.get('*', (q, r) => r.end(answer(q.url))); a.listen(at); },
  restify: () => { const s = require('restify').createServer(); s.get('/*', (q, r, next) => { r.sendRaw(200, answer(q.url)); next(); }); s.listen(at); },
  connect: () => { const a = require('connect')(); a.use(plain); require('http').createServer(a).listen(at); },
  ws: () => { const { WebSocketServer } = require('ws'); const s = require('http').createServer(plain); new WebSocketServer({ server: s }); s.listen(at); },
  socketio: () => { const s = require('http').createServer(plain); const { Server } = require('socket.io'); new Server(s, { path: '/s/' }); s.listen(at); },
  h3: () => { const { createApp, eventHandler, toNodeListener } = require('h3'); const a = createApp(); a.use(eventHandler((e) => answer(e.path))); require('http').createServer(toNodeListener(a)).listen(at); },
  hono: () => { const { serve } = require('@hono/node-server'); const { Hono } = require('hono'); const a = new Hono(); a.get('*', (c) => c.text(answer(new URL(c.req.url).pathname))); serve({ fetch: a.fetch, port: at }); },
  jsonserver: () => { const j = require('json-server'); const a = j.create(); a.use((q, r) => r.send(answer(q.url))); a.listen(at); },
  nest: async () => {
    require('reflect-metadata');
    const { NestFactory } = require('@nestjs/core'); const { Module } = require('@nestjs/common');
    class App {} Module({})(App);
    const a = await NestFactory.create(App, { logger: false }); a.use((q, r) => r.send(answer(q.url)));
    a.enableShutdownHooks(); await a.listen(at);
  },
  cluster: () => {
    const c = require('cluster');
    if (c.isPrimary) { c.fork(); c.fork(); } else cjs.http();
  },
};
Promise.resolve(cjs[name]()).catch((e) => { console.error(e); process.exit(1); });
