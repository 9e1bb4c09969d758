import { Elysia } from "elysia";
new Elysia().get("*", ({ path }) => `${process.pid} ${path}`).listen(+process.argv[2]);
