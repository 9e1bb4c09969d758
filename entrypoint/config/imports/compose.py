"""Services of a Compose file as apps of one container, if they share one image.

Services that are built from the same folder, or use the same image, and differ in their
command can share a container. A database beside them cannot: it is omitted and reported.
"""

from __future__ import annotations

import re

from entrypoint.config.pm2.values import text_of

from .common import App, Found, Location, Raw, left_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.config.errors import Problems
    from entrypoint.config.tree import Node

_TAKEN = frozenset(
    (
        *("command", "entrypoint", "environment", "env_file", "working_dir", "user", "restart"),
        *("depends_on", "stop_signal", "stop_grace_period", "healthcheck", "ulimits", "scale"),
        *("deploy", "image", "build", "container_name", "init", "oom_score_adj", "x-"),
    )
)
_NOT_TAKEN = {
    "ports": "belongs to the container: `docker run -p`; an app that shares a port says `listen`",
    "expose": "belongs to the container",
    "volumes": "belongs to the container",
    "networks": "belongs to the container; apps reach each other on 127.0.0.1",
    "network_mode": "belongs to the container",
    "logging": "every line goes to stdout of the container",
    "secrets": "mount them and use `env_from_file`",
    "configs": "mount them",
    "labels": "belongs to the container",
    "tty": "apps have no terminal",
    "stdin_open": "write `stdin: open`",
    "profiles": "choose apps by `--only`",
    "develop": "write `watch`",
    "extends": "write it out: `docker compose config`",
}


def looks_like(tree: Node) -> bool:
    """Whether these are the nodes of a Compose file."""
    services = tree.get("services") if tree.kind == "map" else None
    return services is not None and services.kind == "map" and tree.get("apps") is None


def read(tree: Node, problems: Problems) -> Found:
    """The services that can share a container."""
    services = tree.get("services")
    assert services is not None
    images: dict[str, list[str]] = {}
    for name, (_, service) in services.entries.items():
        images.setdefault(_image(service), []).append(name)
    chosen = max(images.values(), key=len) if images else []
    built = [names for image, names in images.items() if image.startswith("build:")]
    if built:
        chosen = max(built, key=len)
    # A single service that is built is an app; databases stay containers.
    if not chosen or (len(chosen) < 2 and len(built or images) > 1):
        raise problems.stop(
            services,
            "services",
            "have a different image each: they are containers of their own (Kubernetes: a pod), "
            "and no apps of one",
        )
    for name, (key, _) in services.entries.items():
        if name not in chosen:
            why = "is left out: it has another image, and stays a container of its own"
            left_out(problems, key.line, f"services.{name}", why)
    apps = [
        _service(name, services.entries[name][1], set(chosen), problems)
        for name in services.entries
        if name in chosen
    ]
    return Found(tuple(apps))


def _image(service: Node) -> str:
    build = service.get("build")
    if build is not None:
        if build.kind == "map":
            parts = [build.get(key) for key in ("context", "dockerfile", "target")]
            return "build:" + ":".join(text_of(part) if part is not None else "" for part in parts)
        return f"build:{text_of(build)}::"
    image = service.get("image")
    return f"image:{text_of(image)}" if image is not None else "image:"


def _service(name: str, service: Node, chosen: set[str], problems: Problems) -> App:
    app = App(name, service.line)
    where = f"services.{name}"
    words = [*_words(service.get("entrypoint")), *_words(service.get("command"))]
    command = service.get("command")
    if not words:
        text = "has no command: it is the image's CMD, which does not stand here; write `script`"
        problems.error(Location(service.line), f"{where}.command", text)
    elif command is not None and command.kind != "seq" and service.get("entrypoint") is None:
        app.keys["script"] = _text(text_of(command))
    else:
        app.keys["script"] = _text(words[0])
        if len(words) > 1:
            app.keys["args"] = [_text(word) for word in words[1:]]
    _environment(app, service)
    for key, name_here in (("working_dir", "cwd"), ("stop_signal", "kill_signal")):
        value = service.get(key)
        if value is not None:
            app.keys[name_here] = _text(text_of(value))
    user = service.get("user")
    if user is not None:
        first, _, group = text_of(user).partition(":")
        app.keys["user"] = first
        if group:
            app.keys["group"] = group
    app.keys.setdefault("kill_signal", "SIGTERM")
    grace = service.get("stop_grace_period")
    app.keys["kill_timeout"] = text_of(grace) if grace is not None else "10s"
    _restart(app, service)
    _depends(app, service, chosen, where, problems)
    _health(app, service, where, problems)
    _more(app, service)
    for key, (key_node, _) in service.entries.items():
        if key not in _TAKEN and not key.startswith("x-"):
            why = _NOT_TAKEN.get(key, "belongs to the container")
            left_out(problems, key_node.line, f"{where}.{key}", f"is left out: {why}")
    return app


def _words(node: Node | None) -> list[str]:
    from entrypoint.config import words

    if node is None or node.is_null:
        return []
    if node.kind == "seq":
        return [text_of(item) for item in node.items]
    return list(words.split_words(text_of(node)))


_REQUIRED = re.compile(r"(?<!\$)((?:\$\$)*)\$\{(\w+):?\?[^{}]*\}")


def _text(text: str) -> str:
    """Compose's `${X:-y}` and `$$` are pyinit's, and `${X:?text}` is `${X}`; others are not."""
    return Raw(_REQUIRED.sub(r"\1${\2}", text)) if "$" in text else text


def _environment(app: App, service: Node) -> None:
    node = service.get("environment")
    env: dict[str, str] = {}
    if node is not None and node.kind == "map":
        for name, (_, value) in node.entries.items():
            # Without a value it is the container's own, which a worker inherits.
            if not value.is_null:
                env[name] = _text(text_of(value))
    elif node is not None:
        for item in node.items:
            name, mark, value_text = text_of(item).partition("=")
            if mark:
                env[name] = _text(value_text)
    if env:
        app.keys["env"] = env
    files = service.get("env_file")
    if files is not None:
        items = files.items if files.kind == "seq" else [files]
        paths = [item.get("path") or item if item.kind == "map" else item for item in items]
        app.keys["env_file"] = [_text(text_of(path)) for path in paths]


def _restart(app: App, service: Node) -> None:
    restart = service.get("restart")
    text = text_of(restart) if restart is not None else "no"
    if text in {"no", "false"}:
        app.keys["autorestart"] = False
    elif text.startswith("on-failure"):
        app.keys["stop_exit_codes"] = ["0"]
        _, _, count = text.partition(":")
        if count.isdigit():
            app.keys["max_restarts"] = int(count)


def _depends(app: App, service: Node, chosen: set[str], where: str, problems: Problems) -> None:
    node = service.get("depends_on")
    if node is None:
        return
    found: dict[str, str] = {}
    if node.kind == "map":
        for name, (_, value) in node.entries.items():
            condition = value.get("condition") if value.kind == "map" else None
            found[name] = text_of(condition) if condition is not None else "service_started"
    else:
        found = {text_of(item): "service_started" for item in node.items}
    kept = {name: condition for name, condition in found.items() if name in chosen}
    for name in found:
        if name not in kept:
            why = f"{name} is a container of its own: an app has to bear that it is not there yet"
            left_out(problems, node.line, f"{where}.depends_on", why)
    if kept:
        app.keys["depends_on"] = kept


def _health(app: App, service: Node, where: str, problems: Problems) -> None:
    node = service.get("healthcheck")
    if node is None or node.kind != "map":
        return
    test = node.get("test")
    words = _words(test)
    if not words or words[0] == "NONE":
        return
    if test is not None and test.kind == "seq" and words[0] in {"CMD", "CMD-SHELL"}:
        words = words[1:] if words[0] == "CMD" else ["sh", "-c", words[1]]
    elif test is not None and test.kind != "seq":
        words = ["sh", "-c", text_of(test)]
    health: dict[str, object] = {"exec": words}
    for key, name in (
        *(("interval", "interval"), ("timeout", "timeout"), ("start_period", "start_period")),
        ("retries", "failures"),
    ):
        value = node.get(key)
        if value is not None:
            health[name] = text_of(value)
    app.keys["health"] = health
    if any("$" in word for word in words):
        left_out(problems, node.line, f"{where}.healthcheck", "`$` in it is taken literally")


def _more(app: App, service: Node) -> None:
    replicas = service.get("scale")
    deploy = service.get("deploy")
    if deploy is not None and deploy.kind == "map":
        replicas = deploy.get("replicas") or replicas
    if replicas is not None and text_of(replicas).isdigit() and int(text_of(replicas)) > 1:
        app.keys["instances"] = int(text_of(replicas))
        app.keys["exec_mode"] = "cluster"
    limits = service.get("ulimits")
    if limits is not None and limits.kind == "map":
        made = {}
        for name, (_, value) in limits.entries.items():
            soft, hard = (
                (value.get("soft"), value.get("hard")) if value.kind == "map" else (value, value)
            )
            if soft is not None and hard is not None:
                both = text_of(soft), text_of(hard)
                made[name] = both[0] if both[0] == both[1] else ":".join(both)
        app.keys["rlimits"] = made
    score = service.get("oom_score_adj")
    if score is not None and text_of(score).lstrip("-").isdigit():
        app.keys["oom_score_adj"] = int(text_of(score))
