"""What deploy/kubernetes renders to, and what stands where in it."""

import functools
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # no types for one package

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"

# All that can be applied: bases are not.
APPLIED = sorted(
    str(path.parent.relative_to(KUBERNETES))
    for path in KUBERNETES.rglob("kustomization.yaml")
    if "kind: Kustomization\n" in path.read_text() and path.parent.name != "base"
)
OLDEST_KUSTOMIZE = 5  # its parts of a kustomization.yaml are used

Object = dict[str, Any]


@functools.cache
def why_not_rendered() -> str:
    """Why kubectl cannot render here; empty if it can."""
    if shutil.which("kubectl") is None:
        return "no kubectl"
    asked = subprocess.run(["kubectl", "version", "--client", "--output=json"], capture_output=True, text=True)
    version = json.loads(asked.stdout or "{}").get("kustomizeVersion", "v0")
    return "" if int(version.lstrip("v").split(".")[0]) >= OLDEST_KUSTOMIZE else f"kubectl's kustomize is {version}"


@functools.cache
def render(folder: Path) -> list[Object]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def every_object() -> list[tuple[str, Object]]:
    """(what is applied, object) of everything."""
    return [(applied, each) for applied in APPLIED for each in render(KUBERNETES / applied)]


def of_kind(kind: str, objects: list[Object]) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def pod_templates(manifest: Object) -> Iterator[Object]:
    """Of a Deployment, a Job or a RayService; none of anything else."""
    spec = manifest.get("spec", {})
    if "template" in spec:
        yield spec["template"]
    cluster = spec.get("rayClusterConfig", {})
    for group in [cluster.get("headGroupSpec"), *cluster.get("workerGroupSpecs", [])]:
        if group:
            yield group["template"]


def every_template() -> list[tuple[str, Object]]:
    return [(applied, template) for applied, each in every_object() for template in pod_templates(each)]


def environment(container: Object) -> dict[str, Object]:
    return {entry["name"]: entry for entry in container.get("env", [])}
