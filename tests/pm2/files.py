"""PM2 files in the style of public projects, each with the programs that it names.

A program is a probe that says how it was started. `start` are the words after
`pm2-runtime start` and after `pyinit`; `count` is how many processes are started.
"""

# ruff: noqa: E501
from __future__ import annotations

PROBE_JS = """\
const fs = require('fs');
const text = JSON.stringify({
  argv: process.argv.slice(2).map(String), execArgv: process.execArgv, env: process.env,
  cwd: process.cwd(), send: typeof process.send, connected: process.connected === true,
  main: require.main === module, maps: process.sourceMapsEnabled === true,
  stdin: fs.fstatSync(0).isFIFO() || fs.fstatSync(0).isSocket(), title: process.title,
});
fs.writeFileSync('@OUT@/new.' + process.pid, text);
fs.renameSync('@OUT@/new.' + process.pid, '@OUT@/probe.' + process.pid);
setInterval(() => {}, 1e9);
"""
PROBE_MJS = """\
import fs from 'fs';
const text = JSON.stringify({
  argv: process.argv.slice(2).map(String), execArgv: process.execArgv, env: process.env,
  cwd: process.cwd(), send: typeof process.send, connected: process.connected === true,
  maps: process.sourceMapsEnabled === true,
  stdin: fs.fstatSync(0).isFIFO() || fs.fstatSync(0).isSocket(),
});
fs.writeFileSync('@OUT@/new.' + process.pid, text);
fs.renameSync('@OUT@/new.' + process.pid, '@OUT@/probe.' + process.pid);
setInterval(() => {}, 1e9);
"""
PROBE_PY = """\
#!/usr/bin/python3
import json, os, stat, sys, time
text = json.dumps({
    "argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "file": sys.argv[0],
    "stdin": stat.S_ISFIFO(os.fstat(0).st_mode) or stat.S_ISSOCK(os.fstat(0).st_mode),
})
pid = os.getpid()
with open(f"@OUT@/new.{pid}", "w") as file:
    file.write(text)
os.rename(f"@OUT@/new.{pid}", f"@OUT@/probe.{pid}")
time.sleep(1e6)
"""
PROBE_SH = 'exec /usr/bin/python3 @DIR@/lib/probe.py "$@"\n'

# What PM2 is started with, beside PATH and HOME.
ENVIRONMENT = {"FROM_CONTAINER": "yes", "API_URL": "http://api.test", "LANG": "C.UTF-8"}


def case(config, *programs, name="ecosystem.config.js", start=(), count=1, **files):
    """A folder: `config` is its PM2 file, `programs` are probes by their extension."""
    return {
        "name": name,
        "config": config,
        "programs": programs,
        "start": start,
        "count": count,
        "files": files.pop("files", {}),
    }


CASES = {
    "nestjs": case(
        """\
module.exports = {
  apps: [
    {
      name: 'nest-api',
      script: './dist/main.js',
      instances: 2,
      exec_mode: 'cluster',
      autorestart: true,
      watch: false,
      max_memory_restart: '1G',
      merge_logs: true,
      error_file: './logs/err.log',
      out_file: './logs/out.log',
      log_date_format: 'YYYY-MM-DD HH:mm:ss',
      env: { NODE_ENV: 'development', PORT: 3000 },
      env_production: { NODE_ENV: 'production', PORT: 8080 },
    },
  ],
};
""",
        "dist/main.js",
        start=("--env", "production"),
        count=2,
    ),
    "nextjs": case(
        """\
module.exports = {
  apps: [{
    name: 'next-app',
    cwd: './',
    script: 'node_modules/next/dist/bin/next',
    args: 'start -p 3000',
    instances: '2',
    exec_mode: 'cluster',
    env: { NODE_ENV: 'production', NEXT_TELEMETRY_DISABLED: 1 },
  }],
};
""",
        "node_modules/next/dist/bin/next",
        count=2,
    ),
    "express-generator": case(
        """\
{
  // a file of 2016
  "apps": [{
    "name": "express-app",
    "script": "./bin/www",
    "watch": false,
    'exec_interpreter': 'node',
    "instances": 1,
    "env": { "PORT": 3000, "NODE_ENV": "production", "DEBUG": "express:*", "RATE": 1.50, },
  },]
}
""",
        "bin/www",
        name="process.json",
    ),
    "nuxt": case(
        """\
module.exports = {
  apps: [
    {
      name: 'NuxtApp',
      port: '3000',
      exec_mode: 'cluster',
      instances: 1,
      script: './.output/server/index.mjs',
    },
  ],
};
""",
        ".output/server/index.mjs",
    ),
    "strapi": case(
        """\
const path = require('path');
module.exports = {
  apps: [
    {
      name: 'strapi',
      cwd: path.join(__dirname, 'backend'),
      script: 'server.js',
      args: ['start', '--port', 1337],
      env: { NODE_ENV: 'production', DATABASE: { host: 'db', ports: [1, 2] }, EMPTY: '', NIL: null },
    },
  ],
};
""",
        "backend/server.js",
    ),
    "discord-bot": case(
        """\
{
  "name": "bot",
  "script": "index.js",
  "args": ["--color", "--shard", 1, true],
  "node_args": "--expose-gc --max-old-space-size=128",
  "watch": false,
  "ignore_watch": ["node_modules", "logs"],
  "exp_backoff_restart_delay": 100
}
""",
        "index.js",
        name="pm2.json",
    ),
    "laravel-queue": case(
        """\
module.exports = {
  apps: [{
    name: 'laravel-worker',
    script: 'artisan',
    interpreter: 'php',
    args: 'queue:work --sleep=3 --tries=3 --queue="high,low"',
    exec_mode: 'fork',
    instances: 2,
    kill_timeout: 30000,
  }],
};
""",
        "bin/php",
        count=2,
        files={"artisan": "<?php\n"},
    ),
    "python-interpreter": case(
        """\
module.exports = {
  apps: [{
    name: 'flask',
    script: 'app.py',
    interpreter: 'python3',
    interpreter_args: '-u -X utf8',
    args: '--host 0.0.0.0',
    env: { FLASK_ENV: 'production', PYTHONPATH: './lib' },
  }],
};
""",
        "app.py",
    ),
    "python-default": case(
        """\
apps:
  - script: ./jobs/worker.py
    name: worker
    env:
      LEVEL: 5
      RATIO: 1.10
      OCTAL: 010
      YES: yes
      NOTHING:
      ON: true
""",
        "jobs/worker.py",
        name="process.yml",
    ),
    "cron": case(
        """\
module.exports = {
  apps: [{
    name: 'nightly',
    script: 'job.js',
    instances: 1,
    exec_mode: 'fork',
    cron_restart: '0 3 * * *',
    autorestart: false,
  }],
};
""",
        "job.js",
    ),
    "monorepo": case(
        """\
module.exports = {
  apps: [
    { name: 'api', cwd: './packages/api', script: 'dist/index.js', env: { PORT: 4000 } },
    { name: 'web', cwd: './packages/web', script: 'server.js', instances: 2 },
    { name: 'mail', cwd: './packages/mail', script: 'src/mail.sh', args: 'a  b', interpreter: 'bash' },
  ],
};
""",
        "packages/api/dist/index.js",
        "packages/web/server.js",
        "packages/mail/src/mail.sh",
        count=4,
    ),
    "functions": case(
        """\
const common = { script: 'server.js', exec_mode: 'fork', time: true };
const app = (name, port) => ({ ...common, name, env: { PORT: port, NAME: `svc-${name}` } });
module.exports = { apps: ['auth', 'users'].map((name, at) => app(name, 5000 + at)) };
""",
        "server.js",
        count=2,
    ),
    "package-json": case(
        """\
const { name, version } = require('./package.json');
module.exports = {
  apps: [{ name, script: '.', env: { APP_VERSION: version } }],
};
""",
        "lib/start.js",
        files={"package.json": '{"name": "my-app", "version": "1.2.3", "main": "lib/start.js"}'},
    ),
    "dotenv": case(
        """\
require('dotenv').config();
process.env.BUILD = 'b-' + process.env.FROM_CONTAINER;
delete process.env.LANG;
module.exports = {
  apps: [{
    name: 'env',
    script: 'index.js',
    env: { DB: process.env.DATABASE_URL, API: process.env.API_URL, NONE: process.env.NONE },
  }],
};
""",
        "index.js",
        files={
            ".env": "DATABASE_URL=postgres://db/x\nAPI_URL=not-this\nexport SPACED='a b'\n",
            "node_modules/dotenv/index.js": """\
exports.config = () => {
  for (const line of require('fs').readFileSync('.env', 'utf8').split('\\n')) {
    const [, name, value] = /^(?:export )?(\\w+)=(.*)$/.exec(line) || [];
    const plain = value && value.replace(/^'(.*)'$/, '$1');
    if (name && !(name in process.env)) process.env[name] = plain;
  }
};
""",
        },
    ),
    "es-module": case(
        """\
module.exports = {
  apps: [{ name: 'esm', script: './src/server.js', instances: 1 }],
};
""",
        "src/server.js",
        name="ecosystem.config.cjs",
        files={"package.json": '{"type": "module"}'},
    ),
    "typescript": case(
        """\
module.exports = {
  apps: [{
    name: 'ts',
    script: 'src/index.ts',
    interpreter: './node_modules/.bin/ts-node',
    interpreter_args: '-r tsconfig-paths/register',
    exec_mode: 'fork',
    source_map_support: true,
  }],
};
""",
        "node_modules/.bin/ts-node",
        files={"src/index.ts": "export {};\n"},
    ),
    "options-in-env": case(
        """\
module.exports = {
  apps: [{
    name: 'opt',
    script: 'app.js',
    exec_mode: 'fork',
    args: '--dev',
    env_production: {
      NODE_ENV: 'production',
      args: '--prod --fast',
      node_args: ['--max-old-space-size=111'],
      instances: 3,
    },
  }],
};
""",
        "app.js",
        start=("--env", "production"),
    ),
    "deploy-env": case(
        """\
module.exports = {
  apps: [{ name: 'd', script: 'app.js', env: { A: 'env', B: 'env' }, env_staging: { B: 'staging' } }],
  deploy: {
    staging: { user: 'node', host: 'h', ref: 'origin/main', env: { A: 'deploy', B: 'deploy', C: 'c' } },
  },
};
""",
        "app.js",
        start=("--env", "staging"),
    ),
    "args-text": case(
        """\
module.exports = {
  apps: [{
    name: 'a',
    script: 'app.js',
    exec_mode: 'fork',
    args: '--re ^\\\\d+$ --path a\\\\b --q "one two" --json {"a":1} * #x $HOME ~ it\\'s x=\\'y z\\'',
  }, {
    name: 'b',
    script: 'app.js',
    exec_mode: 'fork',
    args: ['http://{host}:{port}/{instance}', '${X}', ' a '],
    env: { TPL: '{port} {fd} {slot}', FMT: '${level}$$' },
  }],
};
""",
        "app.js",
        count=2,
    ),
    "command-lines": case(
        """\
module.exports = {
  apps: [
    { name: 'one', script: 'node server.js --port 3000', args: '--lost' },
    { name: 'My App (prod)', script: 'MODE=x node server.js "a b" 2>&1' },
  ],
};
""",
        "server.js",
        count=2,
    ),
    "camel-case": case(
        """\
module.exports = {
  apps: [{
    name: 'camel',
    script: 'app.js',
    execMode: 'fork',
    nodeArgs: ['--no-warnings'],
    maxMemoryRestart: '300M',
    mergeLogs: true,
    errorFile: '/dev/null',
    instanceVar: 'NUMBER',
    killTimeout: 3000,
    health_check_grace_period: 3000,
    description: 'x',
  }],
};
""",
        "app.js",
    ),
    "instance-variables": case(
        """\
module.exports = {
  apps: [{
    name: 'n',
    script: 'app.js',
    instances: 2,
    exec_mode: 'fork',
    instance_var: 'INSTANCE_ID',
    increment_var: 'PORT',
    env: { PORT: 3000 },
  }, {
    name: 'm', script: 'app.js', instances: 2, exec_mode: 'cluster', increment_var: 'SHARD',
  }],
};
""",
        "app.js",
        count=4,
    ),
    "filter-env": case(
        """\
module.exports = {
  apps: [
    { name: 'list', script: 'app.js', exec_mode: 'fork', filter_env: ['FROM', 'API_'] },
    { name: 'text', script: 'app.js', exec_mode: 'fork', filter_env: 'API_URL' },
  ],
};
""",
        "app.js",
        count=2,
    ),
    "folder": case(
        """\
module.exports = { apps: [{ name: 'dir', script: './src/', exec_mode: 'fork' }] };
""",
        "src/index.js",
    ),
    "namespace": case(
        """\
{
  "apps": [
    { "name": "a", "script": "app.js", "namespace": "team", "append_env_to_name": true,
      "env_staging": { "WHERE": "staging" } },
    { "name": "b", "script": "app.js", "instances": -5 }
  ]
}
""",
        "app.js",
        name="ecosystem.json",
        start=("--env", "staging"),
        count=2,
    ),
    "shell-script": case(
        """\
apps:
  - &base
    cmd: ./start.sh
    name: sh
    args: one "two three"
  - <<: *base
    name: sh2
    port: 81
""",
        "start.sh",
        name="pm2.yml",
        count=2,
    ),
    "argv-of-the-config": case(
        """\
const at = process.argv.indexOf('--env');
const env = at < 0 ? 'none' : process.argv[at + 1];
module.exports = { apps: [{ name: `api-${env}`, script: 'app.js', exec_mode: 'fork' }] };
""",
        "app.js",
        start=("--env", "production"),
    ),
    "one-app-as-a-mapping": case(
        """\
exports.apps = {
  name: 'one',
  exec: 'index.js',
  exec_interpreter: process.execPath,
  args: [],
  cwd: process.cwd(),
  env: { name: 'from-env', PATH: `./bin:${process.env.PATH}`, DEBUG: undefined, OBJ: { toString: 1 } },
};
""",
        "index.js",
    ),
    "pm2-list": case(
        """\
module.exports = {
  pm2: [{
    script: __dirname + '/app/server.js',
    name: 'abs',
    exec_mode: 'cluster_mode',
    node_args: '-r ./preload.js --trace-warnings',
    args: null,
    instance_var: '',
    uid: undefined,
    wait_ready: false,
  }],
};
""",
        "app/server.js",
        files={"preload.js": "process.env.PRELOADED = '1';\n"},
    ),
    "npm-start": case(
        """\
module.exports = {
  apps: [{ name: 'npm', script: 'npm', args: 'run start:prod -- --port 1', env: { A: 1 } }],
};
""",
        "server.js",
        files={"package.json": '{"scripts": {"start:prod": "node server.js"}}'},
    ),
    "no-interpreter": case(
        """\
module.exports = {
  apps: [
    { name: 'bin', script: './bin/php-tool', interpreter: 'none', args: ['x y', 2] },
    { name: 'sh', script: '/bin/sh', args: ['-c', 'exec ./bin/php-tool "$0" "$1"', 'a b', '*'] },
  ],
};
""",
        "bin/php-tool",
        count=2,
    ),
    "cluster-folder": case(
        """\
[
  { name: 'dir', script: 'src', instances: 1, env: { X: "it's", Y: 'say "hi"', }, },
]
""",
        "src/index.js",
        name="ecosystem.config.json",
    ),
    "module-script": case(
        """\
apps:
  - name: esm
    script: index.mjs
    exec_mode: cluster
    instances: 2
    args: [--a, 1.50, 0x10, ~]
    env: &env
      TIME: 12:30
      DATE: 2024-01-01
      HEX: 0x1F
      FLOAT: 1e3
      LIST: [1, two]
    env_test:
      <<: *env
      TIME: later
""",
        "index.mjs",
        name="process.yaml",
        start=("--env", "test"),
        count=2,
    ),
}
