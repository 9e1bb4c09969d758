"""The controls of the Pod Security Standard "restricted", one function for each.

After the published list (kubernetes.io/docs/concepts/security/pod-security-standards),
with those of "baseline", which it includes. Windows pods are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Fields = dict[str, Any]

SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SELINUX_TYPES = {
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
}
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def breaches(template: Fields) -> list[str]:
    """What a pod (`metadata` and `spec`) breaks, in words; empty when it is admitted."""
    return [f"{each.__name__}: {where}" for each in CONTROLS for where in sorted(each(template))]


def _containers(template: Fields) -> Iterator[tuple[str, Fields]]:
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for each in template["spec"].get(kind) or ():
            yield each["name"], each


def _contexts(template: Fields) -> Iterator[tuple[str, Fields]]:
    """The pod's security context, then each container's."""
    yield "pod", template["spec"].get("securityContext") or {}
    for name, each in _containers(template):
        yield name, each.get("securityContext") or {}


def _inherited(template: Fields, key: str) -> Iterator[tuple[str, Any]]:
    """For each container: what it says, else what the pod says."""
    (_, pod), *containers = _contexts(template)
    for name, context in containers:
        yield name, context.get(key, pod.get(key))


# -- baseline -------------------------------------------------------------------------------


def host_namespaces(template: Fields) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if template["spec"].get(key):
            yield key


def privileged_containers(template: Fields) -> Iterator[str]:
    for name, context in _contexts(template):
        if context.get("privileged"):
            yield name


def host_path_volumes(template: Fields) -> Iterator[str]:
    for volume in template["spec"].get("volumes") or ():
        if "hostPath" in volume:
            yield volume["name"]


def host_ports(template: Fields) -> Iterator[str]:
    for name, each in _containers(template):
        for port in each.get("ports") or ():
            if port.get("hostPort"):
                yield f"{name}: {port['hostPort']}"


def host_probes(template: Fields) -> Iterator[str]:
    """Probes and hooks may not send the kubelet to another host (since 1.34)."""
    for name, each in _containers(template):
        hooks = each.get("lifecycle") or {}
        actions = {
            **{kind: each.get(f"{kind}Probe") for kind in ("liveness", "readiness", "startup")},
            **{kind: hooks.get(kind) for kind in ("postStart", "preStop")},
        }
        for kind, action in actions.items():
            for how in ("httpGet", "tcpSocket"):
                if ((action or {}).get(how) or {}).get("host"):
                    yield f"{name}: {kind}"


def app_armor(template: Fields) -> Iterator[str]:
    for name, context in _contexts(template):
        if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in {
            "RuntimeDefault",
            "Localhost",
        }:
            yield name
    for key, value in (template.get("metadata", {}).get("annotations") or {}).items():
        allowed = value in {"", "runtime/default"} or value.startswith("localhost/")
        if key.startswith(APPARMOR) and not allowed:
            yield key


def se_linux(template: Fields) -> Iterator[str]:
    for name, context in _contexts(template):
        options = context.get("seLinuxOptions") or {}
        if options.get("type", "") not in SELINUX_TYPES:
            yield f"{name}: type"
        for key in ("user", "role"):
            if options.get(key):
                yield f"{name}: {key}"


def proc_mount_type(template: Fields) -> Iterator[str]:
    for name, context in _contexts(template):
        if context.get("procMount", "Default") != "Default":
            yield name


def sysctls(template: Fields) -> Iterator[str]:
    for each in (template["spec"].get("securityContext") or {}).get("sysctls") or ():
        if each["name"] not in SAFE_SYSCTLS:
            yield each["name"]


# -- restricted -----------------------------------------------------------------------------


def volume_types(template: Fields) -> Iterator[str]:
    for volume in template["spec"].get("volumes") or ():
        if kinds := set(volume) - {"name"} - VOLUMES:
            yield f"{volume['name']}: {', '.join(sorted(kinds))}"


def privilege_escalation(template: Fields) -> Iterator[str]:
    for name, each in _containers(template):
        if (each.get("securityContext") or {}).get("allowPrivilegeEscalation") is not False:
            yield name


def running_as_non_root(template: Fields) -> Iterator[str]:
    for name, value in _inherited(template, "runAsNonRoot"):
        if value is not True:
            yield name


def running_as_non_root_user(template: Fields) -> Iterator[str]:
    for name, context in _contexts(template):
        if context.get("runAsUser") == 0:
            yield name


def seccomp(template: Fields) -> Iterator[str]:
    for name, value in _inherited(template, "seccompProfile"):
        if (value or {}).get("type") not in {"RuntimeDefault", "Localhost"}:
            yield name


def capabilities(template: Fields) -> Iterator[str]:
    for name, each in _containers(template):
        found = (each.get("securityContext") or {}).get("capabilities") or {}
        if "ALL" not in (found.get("drop") or ()):
            yield f"{name}: drop"
        for added in found.get("add") or ():
            if added != "NET_BIND_SERVICE":
                yield f"{name}: {added}"


CONTROLS: tuple[Callable[[Fields], Iterator[str]], ...] = (
    host_namespaces,
    privileged_containers,
    host_path_volumes,
    host_ports,
    host_probes,
    app_armor,
    se_linux,
    proc_mount_type,
    sysctls,
    volume_types,
    privilege_escalation,
    running_as_non_root,
    running_as_non_root_user,
    seccomp,
    capabilities,
)
