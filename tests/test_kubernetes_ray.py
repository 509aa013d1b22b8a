"""The RayService is one, as far as that can be told without its operator.

We know of no package that brings KubeRay's own schema, and 800 KB of it in the repository would age. So the fields in
use are named here; pods are checked by Kubernetes' schemas and the application by Ray's.
"""

import re
from typing import Any, Literal

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]  # no types for one file
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from app.settings import Settings
from tests.support.manifests import (
    KUBERNETES,
    ROOT,
    Object,
    environment,
    of_kind,
    pod_templates,
    render,
    why_not_rendered,
)

schema = pytest.importorskip("ray.serve.schema")

pytestmark = pytest.mark.skipif(bool(why_not_rendered()), reason=why_not_rendered() or "rendered")

APPLIED = ["ray/cpu", "ray/gpu"]
ALONE = ROOT / "deploy" / "ray-serve.yaml"
DEADLINE_S = Settings.model_fields["deadline_s"].default


class Strict(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)


class HeadGroup(Strict):
    ray_start_params: dict[str, str]
    template: dict[str, Any]


class WorkerGroup(HeadGroup):
    group_name: str
    min_replicas: int
    max_replicas: int


class AutoscalerOptions(Strict):
    idle_timeout_seconds: int
    security_context: dict[str, Any]
    volume_mounts: list[dict[str, Any]]


class AuthOptions(Strict):
    mode: Literal["disabled", "token"]


class RayCluster(Strict):
    ray_version: str
    auth_options: AuthOptions
    enable_in_tree_autoscaling: bool
    autoscaler_options: AutoscalerOptions
    head_group_spec: HeadGroup
    worker_group_specs: list[WorkerGroup]


class UpgradeStrategy(Strict):
    type: Literal["NewCluster", "NewClusterWithIncrementalUpgrade", "None"]


class RayServiceSpec(Strict):
    """The fields of KubeRay 1.6 that are used, with their types."""

    serve_config_v2: str
    upgrade_strategy: UpgradeStrategy
    ray_cluster_deletion_delay_seconds: int
    exclude_head_pod_from_serve_svc: bool
    ray_cluster_config: RayCluster


@pytest.mark.parametrize("applied", APPLIED)
@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_the_manifest_has_the_fields_of_a_ray_service(applied: str, version: str):
    service = _service(applied)
    assert service["apiVersion"] == "ray.io/v1"
    cluster = RayServiceSpec.model_validate(service["spec"]).ray_cluster_config
    templates = list(pod_templates(service))
    assert len(templates) == 2
    # the container that KubeRay puts beside the head's
    options = cluster.autoscaler_options
    beside = {"name": "autoscaler", "securityContext": options.security_context, "volumeMounts": options.volume_mounts}
    templates.append({"spec": {"containers": [beside]}})
    for template in templates:
        pods = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pods"}, "template": template}
        kubernetes_validate.validate(pods, version, strict=True)


@pytest.mark.parametrize("applied", APPLIED)
def test_ray_takes_the_application(applied: str):
    (application,) = _serve_config(applied).applications
    assert (application.name, application.route_prefix) == ("segmentation", "/")
    assert application.import_path == "app.ray_serve:build"
    for deployment in application.deployments:
        scaled = deployment.autoscaling_config
        assert 0 < scaled["min_replicas"] < scaled["max_replicas"]
        assert deployment.graceful_shutdown_timeout_s > DEADLINE_S


def test_on_gpus_only_the_engine_is_another():
    cpu, gpu = (yaml.safe_load(_service(applied)["spec"]["serveConfigV2"]) for applied in APPLIED)
    engine = gpu["applications"][0]["deployments"][1]
    assert engine["ray_actor_options"].pop("num_gpus") == 1
    engine["autoscaling_config"]["max_replicas"] = cpu["applications"][0]["deployments"][1]["autoscaling_config"][
        "max_replicas"
    ]
    assert gpu == cpu


@pytest.mark.skipif(not ALONE.exists(), reason="no deploy/ray-serve.yaml")
def test_the_ray_service_runs_the_same_application_as_without_kubernetes():
    """But for how many of each there are."""
    alone = schema.ServeDeploySchema.model_validate(yaml.safe_load(ALONE.read_text())).applications
    here = _serve_config("ray/cpu").applications
    assert [(each.name, each.route_prefix, each.import_path, each.deployment_names) for each in here] == [
        (each.name, each.route_prefix, each.import_path, each.deployment_names) for each in alone
    ]


@pytest.mark.parametrize("applied", APPLIED)
def test_all_replicas_find_room(applied: str):
    (group,) = _service(applied)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    deployments = _serve_config(applied).applications[0].deployments
    for replicas, pods in (("min_replicas", group["minReplicas"]), ("max_replicas", group["maxReplicas"])):
        for resource in ("num_cpus", "num_gpus"):
            wanted = sum(
                getattr(each.ray_actor_options, resource) * each.autoscaling_config[replicas]
                for each in deployments
                if getattr(each.ray_actor_options, resource, None)
            )
            there = int(group["rayStartParams"].get(resource.replace("_", "-"), 0))
            assert wanted <= pods * there, (replicas, resource)


@pytest.mark.parametrize("applied", APPLIED)
def test_workers_are_what_ray_is_told_they_are(applied: str):
    (group,) = _service(applied)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    started = group["rayStartParams"]
    assert container["resources"]["requests"]["cpu"] == started["num-cpus"]
    assert container["resources"]["limits"].get("nvidia.com/gpu") == started.get("num-gpus")
    engine = next(each for each in _serve_config(applied).applications[0].deployments if each.name == "Engine")
    assert environment(container)["SEGMENT_THREADS"]["value"] == f"{engine.ray_actor_options.num_cpus:g}"


@pytest.mark.parametrize("applied", APPLIED)
def test_the_grace_period_covers_the_deadline(applied: str):
    spec = _service(applied)["spec"]
    assert spec["rayClusterDeletionDelaySeconds"] > DEADLINE_S
    (group,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    assert group["template"]["spec"]["terminationGracePeriodSeconds"] > DEADLINE_S


@pytest.mark.parametrize("applied", APPLIED)
def test_ports_and_probes_are_rays(applied: str):
    """Over HTTP: the image has no wget, which KubeRay's own probes call."""
    config = _serve_config(applied)
    head, worker = (template["spec"]["containers"][0] for template in pod_templates(_service(applied)))
    for container in (head, worker):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["serve"] == config.http_options.port == Settings.model_fields["port"].default
        assert container["livenessProbe"]["httpGet"] == {"path": "/api/local_raylet_healthz", "port": 52365}
    assert worker["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": "serve"}
    assert head["readinessProbe"]["httpGet"] == {"path": "/api/gcs_healthz", "port": "dashboard"}


def test_the_cluster_has_the_version_of_ray_that_the_image_has():
    (locked,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements" / "ray.txt").read_text(), flags=re.MULTILINE)
    assert {_service(applied)["spec"]["rayClusterConfig"]["rayVersion"] for applied in APPLIED} == {locked}


def _service(applied: str) -> Object:
    (service,) = of_kind("RayService", render(KUBERNETES / applied))
    return service


def _serve_config(applied: str) -> Any:  # Ray's ServeDeploySchema; it passes over what it does not know
    given = yaml.safe_load(_service(applied)["spec"]["serveConfigV2"])
    for part in [given, *given["applications"]]:
        known = schema.ServeApplicationSchema if "import_path" in part else schema.ServeDeploySchema
        assert part.keys() <= known.model_fields.keys()
    for deployment in given["applications"][0]["deployments"]:
        assert deployment.keys() <= schema.DeploymentSchema.model_fields.keys()
    return schema.ServeDeploySchema.model_validate(given)
