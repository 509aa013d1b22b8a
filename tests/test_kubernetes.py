"""The manifests are valid, and true of the service and of the training job."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]  # no types for one file

from app.metrics import Metrics
from app.routes import router
from app.settings import PREFIX, Settings, load_settings
from app.weights_source import list_states
from tests.support.manifests import (
    APPLIED,
    KUBERNETES,
    ROOT,
    Object,
    environment,
    every_object,
    every_template,
    of_kind,
    pod_templates,
    render,
    why_not_rendered,
)
from training.run.command_line import parse

pytestmark = pytest.mark.skipif(bool(why_not_rendered()), reason=why_not_rendered() or "rendered")

# The oldest that has all that is used, one in between, and the newest known.
VERSIONS = ("1.30", "1.34", kubernetes_validate.latest_version())
# Kinds that operators bring; the RayService has tests of its own.
BROUGHT = ("RayService", "PodMonitor")
README = (KUBERNETES / "README.md").read_text()
OVERLAYS = ["overlays/cpu", "overlays/gpu"]
PARTS = {"overlay": "overlays/cpu", "weights": "components/weights", "labels": "components/labels"}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(version: str):
    objects = [each for _, each in every_object() if each["kind"] not in BROUGHT]
    assert len(objects) > 20
    for each in [*objects, yaml.safe_load((KUBERNETES / "namespace.yaml").read_text())]:
        kubernetes_validate.validate(each, version, strict=True)


def test_all_that_is_documented_is_there():
    """And the other way round."""
    paths = set(re.findall(r"-[kf] (\S+)|--values (\S+)", README))
    assert [path for pair in paths for path in pair if path and not (ROOT / path).exists()] == []
    assert [applied for applied in APPLIED if applied not in README and f"{applied}/" not in README] == []


def test_all_is_in_one_namespace():
    assert {each["metadata"]["namespace"] for _, each in every_object()} == {
        yaml.safe_load((KUBERNETES / "namespace.yaml").read_text())["metadata"]["name"]
    }


def test_containers_get_nothing_that_they_do_not_need():
    user = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[0]
    for applied, template in every_template():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, applied
        assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == tuple(map(int, user))
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["imagePullPolicy"] == "IfNotPresent"


def test_only_rays_autoscaler_has_a_token():
    with_token = [t["spec"] for _, t in every_template() if t["spec"].get("automountServiceAccountToken") is not False]
    assert {pod["containers"][0]["name"] for pod in with_token} == {"ray-head"}
    accounts = [each for _, each in every_object() if each["kind"] == "ServiceAccount"]
    assert all(account["automountServiceAccountToken"] is False for account in accounts)


def test_images_are_those_that_compose_and_the_dockerfile_build():
    def named(file: str) -> set[str]:
        services = yaml.safe_load((ROOT / file).read_text())["services"]
        return {services[name]["image"] for name in ("service", "training")}

    assert "FROM base AS ray\n" in (ROOT / "Dockerfile").read_text()
    known = named("docker-compose.yml") | named("docker-compose.gpu.yml")
    known |= {"unet-segmentation-ray", "unet-segmentation-ray:cuda"}
    for applied, template in every_template():
        for container in template["spec"]["containers"]:
            assert container["image"] in known, applied
            on_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
            if container["name"] != "ray-head":
                assert container["image"].endswith(":cuda") == on_gpu, applied
    assert {t["spec"]["containers"][0]["image"] for _, t in every_template()} == known


def test_variables_are_settings_with_values_that_are_taken(monkeypatch):
    for applied, template in every_template():
        given = environment(template["spec"]["containers"][0])
        ours = {name: entry for name, entry in given.items() if name.startswith(PREFIX)}
        assert {name.removeprefix(PREFIX).lower() for name in ours} <= Settings.model_fields.keys(), applied
        with monkeypatch.context() as patch:
            for name, entry in ours.items():
                if "value" in entry:
                    patch.setenv(name, entry["value"])
            load_settings()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_and_probes_are_the_services(overlay: str):
    container = _pod(overlay)["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": Settings.model_fields["port"].default}
    routes = {getattr(route, "path", "") for route in router.routes}
    for name, path in {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}.items():
        assert container[name]["httpGet"] == {"path": path, "port": "http"}
        assert path in routes
    scraped = _pod(overlay)["metadata"]["annotations"]
    assert scraped["prometheus.io/path"] in routes
    assert scraped["prometheus.io/port"] == str(ports["http"])
    (service,) = of_kind("Service", render(KUBERNETES / overlay))
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_grace_period_covers_the_deadline(overlay: str):
    """The grace period begins with preStop; the server itself waits a second longer than its deadline."""
    pod = _pod(overlay)["spec"]
    container = pod["containers"][0]
    given = environment(container).get("SEGMENT_DEADLINE_S", {}).get("value")
    deadline = float(given or Settings.model_fields["deadline_s"].default)
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > before + deadline + 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_autoscaler_uses_an_existing_metric(overlay: str):
    objects = render(KUBERNETES / overlay)
    (autoscaler,), (deployment,) = of_kind("HorizontalPodAutoscaler", objects), of_kind("Deployment", objects)
    target = autoscaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (deployment["kind"], deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]
    (metric,) = (metric["pods"] for metric in autoscaler["spec"]["metrics"])
    assert metric["metric"]["name"] in {each.name for each in Metrics().registry.collect()}
    # more than ever waits would never be reached
    assert int(metric["target"]["averageValue"]) < Settings.model_fields["max_queue_pixels"].default
    (rule,) = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert rule["seriesQuery"].startswith(metric["metric"]["name"] + "{")


def test_selectors_find_pods():
    for applied, each in every_object():
        spec = each.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector")
        if each["kind"] != "PersistentVolumeClaim" and selector:
            wanted = (selector.get("matchLabels") or selector).items()
            labels = [template["metadata"]["labels"].items() for _, template in _templates(applied)]
            assert any(wanted <= those for those in labels), (applied, each["metadata"]["name"])
    for applied, template in every_template():
        for spread in template["spec"].get("topologySpreadConstraints", []):
            assert spread["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items(), applied


def test_claims_are_those_of_volumes():
    there = {each["metadata"]["name"] for each in render(KUBERNETES / "volumes")}
    volumes = [volume for _, template in every_template() for volume in template["spec"].get("volumes", [])]
    used = {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}
    assert used <= there


def test_components_give_the_service_their_volumes(tmp_path: Path):
    """Volumes that exist, mounted at the folders that the settings name."""
    there = {each["metadata"]["name"] for each in render(KUBERNETES / "volumes")}
    parts = {key: os.path.relpath(KUBERNETES / path, tmp_path) for key, path in PARTS.items()}
    own = {"resources": [parts["overlay"]], "components": [parts["weights"], parts["labels"]]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))
    (deployment,) = of_kind("Deployment", render(tmp_path))
    pod = deployment["spec"]["template"]["spec"]
    claims = [volume["persistentVolumeClaim"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert {claim["claimName"] for claim in claims} == {"weights", "labels"} <= there
    given = environment(pod["containers"][0])
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    for name in ("weights", "labels"):
        assert given[f"{PREFIX}{name.upper()}"]["value"] == mounts[name]["mountPath"]
    assert mounts["weights"]["readOnly"]
    assert not mounts["labels"].get("readOnly")


@pytest.mark.parametrize("applied", ["training/cpu", "training/gpu", "training/nodes"])
def test_trainings_take_their_options_and_resume(applied: str):
    (job,) = of_kind("Job", render(KUBERNETES / applied))
    container = job["spec"]["template"]["spec"]["containers"][0]
    words = [*container["command"], *container["args"]]
    if words[0] == "sh":
        words = shlex.split(words[-1])
    options = parse(words[words.index("training.run") + 1 :])
    assert options.resume
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert all(str(path.parent) in mounts for path in (*options.data, options.out))


def test_the_nodes_of_a_training_meet():
    objects = render(KUBERNETES / "training/nodes")
    (job,), (service,) = of_kind("Job", objects), of_kind("Service", objects)
    pod, name = job["spec"]["template"]["spec"], service["metadata"]["name"]
    given = dict(word.split("=", 1) for word in shlex.split(pod["containers"][0]["args"][0]) if "=" in word)
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(given["--nnodes"])
    assert int(given["--nproc-per-node"]) == int(pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
    assert given["--rdzv-endpoint"].split(":")[0] == f"{job['metadata']['name']}-0.{name}"
    assert pod["subdomain"] == name
    assert service["spec"]["clusterIP"] == "None"


def test_newly_published_weights_are_served(tmp_path: Path):
    (job,) = of_kind("Job", render(KUBERNETES / "training/publish"))
    container = job["spec"]["template"]["spec"]["containers"][0]
    run, weights = tmp_path / "run", tmp_path / "weights"
    for folder in (run, weights):
        folder.mkdir()
        (folder / "weights.safetensors").write_text(folder.name)
    (weights / ".half.safetensors").touch()
    script = container["args"][0].replace("/weights/", f"{weights}/")
    subprocess.run([*container["command"], script], env={"RUN": str(run), "PATH": os.environ["PATH"]}, check=True)
    assert list_states(weights)[0].path.read_text() == "run"
    assert len(list(weights.iterdir())) == 3


def test_the_documented_kustomization_renders(tmp_path: Path):
    shutil.copytree(KUBERNETES, tmp_path / "deploy" / "kubernetes")
    (yours,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "kustomization.yaml").write_text(yours)
    (tmp_path / "keys.env").write_text("SEGMENT_API_KEYS=one,two\n")
    objects = [*render(tmp_path)]
    for each in objects:
        kubernetes_validate.validate(each, VERSIONS[-1], strict=True)
    (secret,), (deployment,) = of_kind("Secret", objects), of_kind("Deployment", objects)
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.example.org/unet-segmentation-service:0.1.0"
    keys = environment(container)["SEGMENT_API_KEYS"]["valueFrom"]["secretKeyRef"]
    assert (keys["name"], keys["key"]) == (secret["metadata"]["name"], *secret["data"])
    assert environment(container)["SEGMENT_WEIGHTS"]["value"] in [m["mountPath"] for m in container["volumeMounts"]]


def _pod(overlay: str) -> Object:
    (template,) = (template for _, template in _templates(overlay))
    return template


def _templates(applied: str) -> list[tuple[str, Object]]:
    return [(applied, template) for each in render(KUBERNETES / applied) for template in pod_templates(each)]
