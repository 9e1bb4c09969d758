"""`pyinit convert` of other supervisors' files, in the style of public ones.

What is printed is loaded without a look at scripts and users, and compared as a plan.
"""

from __future__ import annotations

import signal

import pytest

from entrypoint.config.convert import converted
from entrypoint.config.errors import ConfigErrors, Problems
from entrypoint.config.load import load


@pytest.fixture
def convert(folder):
    """Convert files (name → text) of the folder; the apps by name, and the warnings."""

    def run(files, *names):
        for name, text in files.items():
            path = folder.file(name, text)
            if text.startswith("#!"):
                path.chmod(0o755)
        problems = Problems("")
        text = converted(names or tuple(files), folder.environ, problems)
        folder.file("made.yaml", text)
        plan = load(("made.yaml",), environ=folder.environ, look=False).plan
        run.text = text
        return {app.name: app for app in plan.apps}, [str(w) for w in problems.warnings]

    return run


def said(warnings, *texts):
    for text in texts:
        assert any(text in warning for warning in warnings), (text, warnings)


def refused(convert, files, text):
    with pytest.raises(ConfigErrors) as caught:
        convert(files)
    assert text in str(caught.value)


# -- Procfile ---------------------------------------------------------------------------


def test_procfile_of_rails(convert):
    apps, warnings = convert(
        {
            "Procfile": "# The web server.\n"
            "web: bundle exec puma -C config/puma.rb -p ${PORT:-3000}\n"
            "worker: bundle exec sidekiq -c 5\n\n"
            "release: bin/rails db:migrate\n"
        }
    )
    web, worker, release = apps["web"], apps["worker"], apps["release"]
    assert web.command == ("bundle", "exec", "puma", "-C", "config/puma.rb", "-p", "${PORT:-3000}")
    assert dict(web.env)["PORT"] == "5000"
    assert dict(worker.env)["PORT"] == "5100"
    assert (web.kill_signal, web.kill_timeout) == (signal.SIGTERM, 5.0)
    assert not release.autorestart
    assert web.depends_on[0].condition == "service_completed_successfully"
    assert release.depends_on == ()
    assert "# The web server." in convert.text
    assert 'PORT: "${PORT:-5000}"' in convert.text
    said(warnings, "release: runs once", "main: true")


def test_procfile_of_django_with_an_environment(convert):
    apps, warnings = convert(
        {
            "Procfile.dev": "web: gunicorn proj.wsgi --log-file -\n"
            "beat: celery -A proj beat\ncss: cd client && npm run watch -- '{port}'\n",
            ".env": "DEBUG=1\n",
        },
        "Procfile.dev",
    )
    assert list(apps) == ["web", "beat", "css"]
    assert "env_file: .env" in convert.text.replace('".env"', ".env")
    assert not apps["css"].placeholders
    assert apps["web"].placeholders
    said(warnings, "env_file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web node server.js\n", "name: command"),
        ("web: a\nweb: b\n", "is defined twice"),
        ("# nothing\n", "no program"),
    ],
)
def test_procfiles_that_are_wrong(convert, text, words):
    refused(convert, {"Procfile": text}, words)


# -- supervisord ------------------------------------------------------------------------

LARAVEL = """\
[unix_http_server]
file=/var/run/supervisor.sock

[supervisord]
nodaemon=true
minfds=10000
environment=TZ="UTC",HOME_OF=%(ENV_HOME)s

; php
[program:php-fpm]
command=/usr/local/sbin/php-fpm -F
priority=5
autorestart=true
stopsignal=QUIT
stdout_logfile=/dev/stdout
stdout_logfile_maxbytes=0

[program:laravel-worker]
process_name=%(program_name)s_%(process_num)02d
command=php /var/www/artisan queue:work --sleep=3 --name="w %(process_num)d" ; a comment
numprocs=8
autorestart=unexpected
exitcodes=0,2
user=www-data
directory=/var/www
stopwaitsecs=3600
stopasgroup=true
redirect_stderr=true
environment=
  WORDS="val,1",
  B='x'

[eventlistener:quit]
command=python /kill.py
events=PROCESS_STATE

[group:all]
programs=php-fpm,laravel-worker
"""


def test_supervisord_of_laravel(convert):
    apps, warnings = convert({"supervisord.conf": LARAVEL})
    fpm, worker = apps["php-fpm"], apps["laravel-worker"]
    assert fpm.command == ("/usr/local/sbin/php-fpm", "-F")
    assert (fpm.kill_signal, fpm.kill_timeout) == (signal.SIGQUIT, 10.0)
    assert (fpm.autorestart, fpm.stop_exit_codes) == (True, ())
    assert fpm.namespace == worker.namespace == "all"
    assert worker.command[-1] == "--name=w {instance}"
    assert worker.placeholders
    assert (worker.instances, worker.exec_mode) == (8, "fork")
    assert convert.text.count("treekill: false") == 1
    assert (worker.stop_exit_codes, worker.kill_timeout) == ((0, 2), 3600.0)
    assert (worker.max_restarts, worker.min_uptime, worker.on_errored) == (3, 1.0, "keep")
    assert {k: v for k, v in worker.env if k in {"TZ", "WORDS", "B"}} == {
        "TZ": "UTC",
        "WORDS": "val,1",
        "B": "x",
    }
    assert worker.depends_on[0].app == "php-fpm"
    assert 'HOME_OF: "${HOME}"' in convert.text
    said(warnings, "minfds", "eventlistener:quit", "unix_http_server", "stdout_logfile")
    assert "# php" in convert.text


def test_supervisord_with_includes(convert):
    apps, warnings = convert(
        {
            "supervisord.conf": "[supervisord]\n[include]\nfiles = conf.d/*.conf none/*.ini\n",
            "conf.d/web.conf": "[program:web]\ncommand=nginx -g 'daemon off;'\nautostart=false\n"
            "startretries=10\nstopsignal=TERM\n",
            "conf.d/beat.conf": "[program:beat]\ncommand=celery beat | tee $LOG\n"
            "autorestart=false\numask=022\n",
        },
        "supervisord.conf",
    )
    assert apps["web"].command == ("nginx", "-g", "daemon off;")
    assert (apps["web"].autostart, apps["web"].max_restarts) == (False, 10)
    # There is no shell in supervisord: its signs are arguments.
    assert apps["beat"].command == ("celery", "beat", "|", "tee", "$LOG")
    assert not apps["beat"].autorestart
    said(warnings, "none/*.ini")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[program:a]\nautostart=true\n", "needs a `command`"),
        ("[program:a]\ncommand=sh -c 'x\n", "not closed"),
        ("[supervisord]\nnodaemon=true\n", "no program"),
    ],
)
def test_supervisord_that_is_wrong(convert, text, words):
    refused(convert, {"supervisord.conf": text}, words)


def test_supervisord_what_is_not_known_is_said(convert):
    _, warnings = convert(
        {
            "s.ini": "[program:a]\ncommand=run %(nope)s %(process_num)02d\nfoo=bar\nnumprocs=2\n"
            "[fcgi-program:f]\ncommand=x\n[watchdog]\nx=1\n"
        }
    )
    said(warnings, "%(nope)s is not known", "without zeros", "a.foo", "FastCGI", "watchdog")


# -- crontab ----------------------------------------------------------------------------


def test_crontab_of_a_user(convert):
    apps, warnings = convert(
        {
            "crontab": "SHELL=/bin/bash\nMAILTO=ops@example.org\nPATH=/opt/bin:/bin\n\n"
            "# Every night.\n"
            "0 3 * * * cd /app && /app/bin/backup.sh --all > /proc/1/fd/1 2>&1\n"
            "*/5 * * * * www-data php /var/www/artisan schedule:run\n"
            '@daily find /tmp -mtime +7 -name "*.log" -delete\n'
            "@reboot /app/warm.sh\n"
            "30 1 * * 1-5 date +\\%F\n"
        }
    )
    assert list(apps) == ["backup", "artisan", "find", "warm", "date"]
    backup = apps["backup"]
    assert (backup.cron_restart, backup.autostart, backup.autorestart) == (
        "0 3 * * *",
        False,
        False,
    )
    assert dict(backup.env)["PATH"] == "/opt/bin:/bin"
    assert apps["artisan"].command == ("php", "/var/www/artisan", "schedule:run")
    assert "user: www-data" in convert.text
    assert (apps["find"].cron_restart, apps["warm"].cron_restart) == ("0 0 * * *", "")
    assert apps["warm"].autostart
    assert apps["date"].command == ("date", "+%F")
    assert "# Every night." in convert.text
    said(warnings, "MAILTO")


def test_crontab_of_the_system_and_of_supercronic(convert):
    apps, warnings = convert(
        {
            "cron.d/app": "CRON_TZ=Europe/Berlin\n17 * * * * someone run-parts /etc/cron.hourly\n"
            "17 2 * * * someone run-parts /etc/cron.daily % x\n"
        }
    )
    assert list(apps) == ["run-parts", "run-parts-2"]
    assert convert.text.count("user: someone") == 2
    said(warnings, "TZ of the container", "takes for the end of a line")
    apps, _ = convert({"jobs.cron": "*/10 * * * * * ./every-ten-seconds.sh\n"})
    assert apps["every-ten-seconds"].cron_restart == "*/10 * * * * *"


def test_a_crontab_that_is_wrong(convert):
    refused(
        convert,
        {"crontab": "0 3 * * * backup\nevery day at noon\n"},
        "no file that can be converted",
    )


# -- systemd ----------------------------------------------------------------------------


def test_systemd_of_gunicorn(convert):
    apps, warnings = convert(
        {
            "web.service": """\
[Unit]
Description=The web server
After=network.target
Requires=postgresql.service

[Service]
Type=notify
User=www-data
Group=www-data
WorkingDirectory=/srv/app
Environment=PORT=8080 "NAME=a b"
EnvironmentFile=-/etc/default/web
ExecStartPre=-/usr/bin/install -d /run/web
ExecStartPre=/srv/app/migrate
ExecStart=/usr/bin/gunicorn --bind 0.0.0.0:${PORT} \\
    --workers 4 app:app
ExecReload=/bin/kill -s HUP $MAINPID
ExecStopPost=/srv/app/tidy
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=3
TimeoutStopSec=1min 30s
LimitNOFILE=65536
LimitCORE=infinity
PrivateTmp=true
KillMode=mixed
UMask=0027
Nice=5

[Install]
WantedBy=multi-user.target
"""
        }
    )
    web = apps["web"]
    assert web.command[-5:] == ("--bind", "0.0.0.0:${PORT}", "--workers", "4", "app:app")
    assert (dict(web.env)["PORT"], dict(web.env)["NAME"]) == ("8080", "a b")
    assert (web.wait_ready, web.kill_timeout, web.restart_delay) == (True, 90.0, 5.0)
    assert (web.stop_exit_codes, web.cwd) == ((0, 3), "/srv/app")
    for line in (
        '- "/usr/bin/install -d /run/web || true"',
        "- /srv/app/migrate",
        "- /srv/app/tidy",
        "{path: /etc/default/web, required: false}",
        'nofile: "65536"',
        "core: unlimited",
        'umask: "0027"',
        "nice: 5",
        "treekill: false",
        "# The web server",
    ):
        assert line in convert.text, convert.text
    said(warnings, "ExecReload", "PrivateTmp", "postgresql.service")


def test_systemd_units_that_belong_together(convert):
    apps, _ = convert(
        {
            "units/db.service": "[Service]\nExecStart=/usr/bin/db --fast\nRestart=always\n"
            "TimeoutStopSec=20\nKillSignal=SIGINT\n",
            "units/api@1.service": "[Unit]\nAfter=db.service\n[Service]\n"
            "ExecStart=@/bin/api api %i\nEnvironment=N=%i\nRestart=no\nTimeoutStopSec=5s\n",
        },
        "units",
    )
    assert apps["api1"].depends_on[0].app == "db"
    assert apps["api1"].command == ("/bin/api", "%i")
    assert dict(apps["api1"].env)["N"] == "1"
    assert not apps["api1"].autorestart
    assert (apps["db"].kill_signal, apps["db"].kill_timeout) == (signal.SIGINT, 20.0)


def test_systemd_oneshot(convert):
    apps, warnings = convert(
        {
            "setup.service": "[Service]\nType=oneshot\nExecStart=/bin/one\nExecStart=/bin/two\n"
            "RemainAfterExit=yes\n"
        }
    )
    assert apps["setup"].command == ("/bin/two",)
    assert "- /bin/one" in convert.text
    assert not apps["setup"].autorestart
    said(warnings, "does not fit into the grace")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[Service]\nType=forking\nExecStart=/bin/d\n", "foreground"),
        ("[Service]\nUser=x\n", "is missing"),
        ('[Service]\nExecStart=/bin/x "\n', "not closed"),
    ],
)
def test_systemd_that_is_wrong(convert, text, words):
    refused(convert, {"a.service": text}, words)


# -- Compose ----------------------------------------------------------------------------

RAILS = """\
services:
  web:
    build: .
    command: bundle exec rails s -b 0.0.0.0
    ports: ["3000:3000"]
    environment: {RAILS_ENV: production, SECRET: "${SECRET}"}
    depends_on: [db]
    restart: unless-stopped
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost:3000/up"]
      interval: 10s
      retries: 5
  worker:
    build: .
    command: ["bundle", "exec", "sidekiq", "-q", "a b"]
    environment: [RAILS_ENV=production, TOKEN]
    depends_on:
      web: {condition: service_healthy}
    restart: on-failure:3
    stop_grace_period: 30s
    deploy: {replicas: 2}
    user: "1000:1000"
    ulimits: {nofile: {soft: 1024, hard: 2048}, nproc: 512}
  db:
    image: postgres:16
"""


def test_compose_of_rails(convert):
    apps, warnings = convert({"compose.yml": RAILS})
    assert list(apps) == ["web", "worker"]
    web, worker = apps["web"], apps["worker"]
    assert web.command == ("bundle", "exec", "rails", "s", "-b", "0.0.0.0")
    assert web.health.command == ("curl", "-f", "http://localhost:3000/up")
    assert (web.health.interval, web.health.failures, web.autorestart) == (10.0, 5, True)
    assert worker.command == ("bundle", "exec", "sidekiq", "-q", "a b")
    assert (worker.instances, worker.kill_timeout, worker.max_restarts) == (2, 30.0, 3)
    assert worker.depends_on[0].condition == "service_healthy"
    assert web.depends_on == ()
    assert "nofile: 1024:2048" in convert.text.replace('"', "")
    assert 'SECRET: "${SECRET}"' in convert.text
    said(warnings, "services.web.ports", "services.db: is left out", "db is a container")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "services: {a: {image: redis, command: x}, b: {image: nginx, command: y}}",
            "containers of their own",
        ),
        ("services: {a: {build: .}}", "has no command"),
        ("services: {}", "containers of their own"),
    ],
)
def test_compose_files_that_are_no_apps(convert, text, words):
    refused(convert, {"compose.yaml": text}, words)


# -- s6 ---------------------------------------------------------------------------------


def test_s6_overlay(convert):
    apps, warnings = convert(
        {
            "s6-rc.d/init-db/type": "oneshot\n",
            "s6-rc.d/init-db/up": "# migrate\n/app/migrate.sh --yes\n",
            "s6-rc.d/web/type": "longrun\n",
            "s6-rc.d/web/run": '#!/command/with-contenv bash\nexec nginx -g "daemon off;"\n',
            "s6-rc.d/web/dependencies.d/init-db": "",
            "s6-rc.d/web/dependencies.d/base": "",
            "s6-rc.d/web/finish": "#!/bin/sh\n",
            "s6-rc.d/web/notification-fd": "3\n",
            "s6-rc.d/web/down-signal": "SIGQUIT\n",
            "s6-rc.d/web/timeout-kill": "5000\n",
            "s6-rc.d/cron/type": "longrun\n",
            "s6-rc.d/cron/run": "#!/command/execlineb -P\ncron -f\n",
            "s6-rc.d/cron/dependencies": "services\n",
            "s6-rc.d/services/type": "bundle\n",
            "s6-rc.d/services/contents.d/web": "",
            "s6-rc.d/web-log/type": "longrun\n",
            "s6-rc.d/web-log/run": "#!/bin/sh\n",
            "s6-rc.d/web-log/consumer-for": "web\n",
        },
        "s6-rc.d",
    )
    assert list(apps) == ["cron", "init-db", "web"]
    assert apps["init-db"].command[-2:] == ("/app/migrate.sh", "--yes")
    assert not apps["init-db"].autorestart
    web = apps["web"]
    assert web.command[0] == "bash"
    assert web.command[1].endswith("s6-rc.d/web/run")
    assert (web.kill_signal, web.kill_timeout) == (signal.SIGQUIT, 5.0)
    assert [(d.app, d.condition) for d in web.depends_on] == [
        ("init-db", "service_completed_successfully")
    ]
    assert [d.app for d in apps["cron"].depends_on] == ["web"]
    said(warnings, "web/finish", "notification-fd", "execline", "it is a logger")


def test_s6_of_version_2(convert):
    apps, _ = convert({"etc/services.d/app/run": "#!/bin/sh\nexec node server.js\n"}, "etc")
    assert apps["app"].command[0].endswith("etc/services.d/app/run")


def test_s6_that_cannot_be_taken(convert):
    files = {"s/a/type": "oneshot\n", "s/a/up": "foreground { x }\ny\n"}
    with pytest.raises(ConfigErrors) as caught:
        convert(files, "s")
    assert "script of sh" in str(caught.value)
    with pytest.raises(ConfigErrors) as caught:
        convert({"empty/x": ""}, "empty")
    assert "without services" in str(caught.value)
