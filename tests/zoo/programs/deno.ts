Deno.serve({ port: +Deno.args[0], hostname: "0.0.0.0", onListen: () => {} }, (q) => new Response(`${Deno.pid} ${new URL(q.url).pathname}`));
