"""The pods of k8s/ are admitted where the "restricted" Pod Security Standard is enforced."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.k8s import rendered, restricted

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("kustomization", rendered.KUSTOMIZATIONS)
def test_the_pods_keep_to_the_standard(kustomization: str) -> None:
    assert restricted.breaches(rendered.pod(kustomization)) == []


def test_the_namespace_asks_for_it() -> None:
    namespace = yaml.safe_load((rendered.K8S / "namespace.yaml").read_text())
    for mode in ("enforce", "warn", "audit"):
        assert namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"


def _spec(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda pod: pod["spec"].__setitem__(key, value)


def _of_pod(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda pod: pod["spec"]["securityContext"].__setitem__(key, value)


def _of_container(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda pod: pod["spec"]["containers"][0]["securityContext"].__setitem__(key, value)


def _container(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda pod: pod["spec"]["containers"][0].__setitem__(key, value)


BREAKING = [
    ("host_namespaces", _spec("hostNetwork", True)),
    ("host_namespaces", _spec("hostPID", True)),
    ("host_namespaces", _spec("hostIPC", True)),
    ("privileged_containers", _of_container("privileged", True)),
    ("host_path_volumes", _spec("volumes", [{"name": "a", "hostPath": {"path": "/"}}])),
    ("host_ports", _container("ports", [{"containerPort": 1, "hostPort": 1}])),
    ("host_probes", _container("livenessProbe", {"httpGet": {"host": "h", "port": 1}})),
    ("host_probes", _container("lifecycle", {"preStop": {"tcpSocket": {"host": "h", "port": 1}}})),
    ("app_armor", _of_container("appArmorProfile", {"type": "Unconfined"})),
    (
        "app_armor",
        lambda pod: pod["metadata"]["annotations"].update(
            {"container.apparmor.security.beta.kubernetes.io/web": "unconfined"}
        ),
    ),
    ("se_linux", _of_pod("seLinuxOptions", {"type": "spc_t"})),
    ("se_linux", _of_pod("seLinuxOptions", {"user": "root"})),
    ("proc_mount_type", _of_container("procMount", "Unmasked")),
    ("sysctls", _of_pod("sysctls", [{"name": "kernel.msgmax", "value": "1"}])),
    ("volume_types", _spec("volumes", [{"name": "a", "nfs": {"server": "s", "path": "/"}}])),
    ("privilege_escalation", _of_container("allowPrivilegeEscalation", True)),
    (
        "privilege_escalation",
        lambda pod: pod["spec"]["containers"][0].pop("securityContext"),
    ),
    ("running_as_non_root", _of_container("runAsNonRoot", False)),
    ("running_as_non_root", lambda pod: pod["spec"]["securityContext"].pop("runAsNonRoot")),
    ("running_as_non_root_user", _of_pod("runAsUser", 0)),
    ("running_as_non_root_user", _of_container("runAsUser", 0)),
    ("seccomp", _of_container("seccompProfile", {"type": "Unconfined"})),
    ("seccomp", lambda pod: pod["spec"]["securityContext"].pop("seccompProfile")),
    ("capabilities", _of_container("capabilities", {"drop": ["KILL"]})),
    ("capabilities", _of_container("capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]})),
    (
        "running_as_non_root_user",
        _spec("initContainers", [{"name": "i", "securityContext": {"runAsUser": 0}}]),
    ),
]


@pytest.mark.parametrize(
    ("control", "breaking"), BREAKING, ids=[f"{n}-{c}" for n, (c, _) in enumerate(BREAKING)]
)
def test_a_pod_that_breaks_a_control_is_told(
    control: str, breaking: Callable[[dict[str, Any]], Any]
) -> None:
    pod = copy.deepcopy(rendered.pod("base"))
    breaking(pod)
    assert control in {breach.partition(":")[0] for breach in restricted.breaches(pod)}


def test_each_control_has_a_pod_that_breaks_it() -> None:
    assert {name for name, _ in BREAKING} == {each.__name__ for each in restricted.CONTROLS}
