"""The manifests of k8s/, rendered: valid for Kubernetes, and true to each other and to pyinit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from entrypoint.api.probes import ENDPOINTS
from entrypoint.config.load import load
from entrypoint.core.effects import Finish
from entrypoint.core.events import Booted, SignalArrived
from entrypoint.core.spec import Plan
from tests.k8s import rendered
from tests.simulation.world import SIGTERM, Script, World

PYINIT = str(Path(sys.executable).with_name("pyinit"))

# The oldest has all the fields that are used here; Kubernetes supports the last three.
OLDEST = 27
VERSIONS = [f"1.{minor}" for minor in range(OLDEST, 38)]

# Of operators: no schema of Kubernetes' own; the next test validates them.
CUSTOM = {("monitoring.coreos.com/v1", "PodMonitor")}

each_kustomization = pytest.mark.parametrize("kustomization", rendered.KUSTOMIZATIONS)


def test_the_newest_version_that_there_are_schemas_for_is_tried() -> None:
    assert kubernetes_validate.latest_version().startswith(VERSIONS[-1])


@each_kustomization
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_schemas_take_every_object(kustomization: str, version: str) -> None:
    unknown = set()
    for each in rendered.objects(kustomization):
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.add((each["apiVersion"], each["kind"]))
    # The first command works in any cluster: objects of operators are opt-in.
    assert unknown == set()


def test_a_misspelled_key_is_found() -> None:
    deployment = rendered.one("base", "Deployment")
    broken = json.loads(json.dumps(deployment).replace("readinessProbe", "readynessProbe"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_the_namespace_is_valid() -> None:
    namespace = yaml.safe_load((rendered.K8S / "namespace.yaml").read_text())
    kubernetes_validate.validate(namespace, VERSIONS[-1], strict=True)


@pytest.mark.node
@each_kustomization
def test_the_prometheus_operators_schemas_take_its_objects(
    kustomization: str, tmp_path: Path
) -> None:
    kustomization = rendered.with_components(kustomization, tmp_path, "pod-monitor")
    modules = rendered.ROOT / "tests" / "node" / "node_modules"
    if not (modules / "@kubernetes-models").is_dir():
        pytest.fail("tests/node has no @kubernetes-models: run make setup")
    custom = [o for o in rendered.objects(kustomization) if (o["apiVersion"], o["kind"]) in CUSTOM]
    assert len(custom) == 1
    script = """
        (async () => {
          const found = [];
          for (const { apiVersion, kind, ...rest } of JSON.parse(require("fs").readFileSync(0))) {
            const models = await import(
              `@kubernetes-models/prometheus-operator/${apiVersion}/${kind}`);
            try { new models[kind](rest).validate(); found.push(""); }
            catch (error) { found.push(`${kind}: ${error.message}`); }
          }
          process.stdout.write(JSON.stringify(found));
        })();
    """
    broken = [json.loads(json.dumps(each).replace('"30s"', '"half a minute"')) for each in custom]
    done = subprocess.run(
        ["node", "-e", script],
        input=json.dumps([*custom, *broken]),
        cwd=modules.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    assert answer[: len(custom)] == [""] * len(custom)
    assert all("interval" in error for error in answer[len(custom) :])


# -- what schemas do not see: the objects name each other ---------------------------------------


@each_kustomization
def test_names_in_a_pod_are_unique_and_lead_somewhere(kustomization: str) -> None:
    pod, container = rendered.pod(kustomization)["spec"], rendered.container(kustomization)
    names = [port["name"] for port in container["ports"]]
    numbers = [port["containerPort"] for port in container["ports"]]
    variables = [variable["name"] for variable in container["env"]]
    for unique in (names, numbers, variables):
        assert len(set(unique)) == len(unique)
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    [config] = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
    assert config == rendered.one(kustomization, "ConfigMap")["metadata"]["name"]
    # A hash of the file: a change of it rolls the Deployment.
    assert re.fullmatch(r"web-[0-9a-z]{10}", config)


@each_kustomization
def test_every_selector_finds_the_pods(kustomization: str) -> None:
    labels = rendered.pod(kustomization)["metadata"]["labels"].items()
    found = 0
    for each in rendered.objects(kustomization):
        spec = each.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if selector:
            assert selector.get("matchLabels", selector).items() <= labels, each["kind"]
            found += 1
    assert found >= 4
    target = rendered.one(kustomization, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    deployment = rendered.one(kustomization, "Deployment")
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]


@each_kustomization
def test_pods_are_spread_over_nodes_and_over_zones_only_where_that_is_asked(
    kustomization: str, tmp_path: Path
) -> None:
    """A node without a zone is not counted by a constraint on zones: all pods go to one."""
    zones = rendered.with_components(kustomization, tmp_path, "zones")
    host, zone = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
    for each, keys in ((kustomization, [host]), (zones, [host, zone])):
        constraints = rendered.pod(each)["spec"]["topologySpreadConstraints"]
        assert [constraint["topologyKey"] for constraint in constraints] == keys
        labels = rendered.pod(each)["metadata"]["labels"].items()
        for constraint in constraints:
            assert constraint["labelSelector"]["matchLabels"].items() <= labels
    kubernetes_validate.validate(rendered.one(zones, "Deployment"), VERSIONS[-1], strict=True)


@each_kustomization
def test_every_named_port_is_one_of_the_pods(kustomization: str, tmp_path: Path) -> None:
    names = {port["name"] for port in rendered.container(kustomization)["ports"]}
    named = []
    monitored = rendered.with_components(kustomization, tmp_path, "pod-monitor")
    for each in rendered.objects(monitored):
        named += _values(each, "targetPort")
        if each["kind"] != "Service":
            named += [port for port in _values(each, "port") if isinstance(port, str)]
    assert set(named) == names


def _values(tree: Any, key: str) -> list[Any]:
    if isinstance(tree, list):
        return [found for each in tree for found in _values(each, key)]
    if not isinstance(tree, dict):
        return []
    found = [tree[key]] if key in tree and not isinstance(tree[key], dict | list) else []
    return found + [deep for value in tree.values() for deep in _values(value, key)]


# -- the objects and pyinit ---------------------------------------------------------------------


def _check(kustomization: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`pyinit check` of the ConfigMap's file, as the Deployment would start it."""
    file = folder / "ecosystem.yaml"
    # The pod's /app is not here; what it says of files there is not what is asked.
    file.write_text(rendered.ecosystem(kustomization).replace("cwd: /app", f"cwd: {folder}"))
    (folder / "server.js").touch()
    env = {each["name"]: each["value"] for each in rendered.container(kustomization)["env"]}
    return subprocess.run(
        [PYINIT, "check", "-c", str(file)],
        capture_output=True,
        text=True,
        # uvicorn is beside pyinit here, and in the image's venv there.
        env={"PATH": f"{Path(PYINIT).parent}:{os.environ['PATH']}", **env, **environ},
    )


@each_kustomization
def test_pyinit_takes_the_file_without_a_warning(kustomization: str, tmp_path: Path) -> None:
    done = _check(kustomization, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()


@each_kustomization
def test_pyinit_warns_when_the_grace_is_too_short(kustomization: str, tmp_path: Path) -> None:
    done = _check(kustomization, tmp_path, PYINIT_GRACE="10s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 s" in done.stdout + done.stderr


@each_kustomization
def test_the_times_fit_into_the_grace(kustomization: str) -> None:
    grace = rendered.pod(kustomization)["spec"]["terminationGracePeriodSeconds"]
    answer = {each["name"]: each["value"] for each in rendered.container(kustomization)["env"]}
    file = yaml.safe_load(rendered.ecosystem(kustomization))
    assert answer["PYINIT_GRACE"] == f"{grace}s"
    drain, timeout = (_seconds(file["shutdown"][key]) for key in ("drain_delay", "timeout"))
    longest = max(_seconds(app["kill_timeout"]) for app in file["apps"])
    # Room for SIGKILL, the last log lines, and a kubelet that is late.
    assert drain + longest < timeout <= grace - 5


def _seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("boots", [0.5, 8.0])
@pytest.mark.parametrize("serves", [0.0, 3.0])
@each_kustomization
def test_a_crash_loop_is_seen_within_a_minute(
    kustomization: str, tmp_path: Path, boots: float, serves: float
) -> None:
    """Also of a worker that crashes 3 s after it was ready, again and again."""
    world = World()
    lives = Script(says_after=boots if serves else None, ends_after=boots + serves, code=7)
    world.usual = lambda _spawn: lives
    world.emit(Booted(_plan(kustomization, tmp_path)))
    world.run_until(lambda: world.exit_code is not None, within=60)
    assert world.exit_code == 1
    # What a stop ends as well, when the startup probe gives up first.
    assert world.ordered(Finish)[0].failed


@each_kustomization
def test_a_release_that_never_listens_ends_the_container_with_a_reason(
    kustomization: str, tmp_path: Path
) -> None:
    world = World()
    world.usual = lambda _spawn: Script(says_after=None)
    world.emit(Booted(_plan(kustomization, tmp_path)))
    probe = rendered.container(kustomization)["startupProbe"]
    world.advance(probe["periodSeconds"] * probe["failureThreshold"])
    assert not world.view(_plan(kustomization, tmp_path).apps[0].name).was_ready
    world.emit(SignalArrived(SIGTERM))
    world.run_until(lambda: world.exit_code is not None)
    assert world.exit_code == 1
    assert "not listening" in world.said("worker exited")[0]["because"]


def _plan(kustomization: str, folder: Path) -> Plan:
    """What pyinit makes of the file, with the two CPUs of the pod's limit."""
    file = folder / "ecosystem.yaml"
    file.write_text(
        rendered.ecosystem(kustomization)
        .replace("cwd: /app", f"cwd: {folder}")
        .replace("instances: max", "instances: 2")
    )
    (folder / "server.js").touch()
    env = {each["name"]: each["value"] for each in rendered.container(kustomization)["env"]}
    loaded = load(str(file), environ={"PATH": f"{Path(PYINIT).parent}:{os.environ['PATH']}", **env})
    return loaded.plan


@each_kustomization
def test_probes_ask_endpoints_that_exist(kustomization: str) -> None:
    container = rendered.container(kustomization)
    file = yaml.safe_load(rendered.ecosystem(kustomization))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    asked = set()
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container[kind]["httpGet"]
        assert probe["path"].lstrip("/") in ENDPOINTS
        # A port alone means IPv4 and IPv6: on an IPv6-only node 0.0.0.0 is refused.
        assert file["probes"]["listen"] == ports[probe["port"]]
        asked.add(probe["path"])
    assert len(asked) == 3
    assert file["apps"][0]["listen"] == ports["http"]
