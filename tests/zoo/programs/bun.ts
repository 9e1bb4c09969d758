Bun.serve({ port: +process.argv[2], fetch: (q) => new Response(`${process.pid} ${new URL(q.url).pathname}`) });
