"""What the compose file promises of the containers: as little as they need, and not without end."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # no types for one file

from app.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = ["service", "training"]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_get_nothing_that_they_do_not_need(name: str):
    container = COMPOSE["services"][name]
    assert container["read_only"] is True
    assert [mount.split(":")[0] for mount in container["tmpfs"]] == ["/tmp"]  # noqa: S108 - the container's
    assert "size=" in container["tmpfs"][0]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "user", "devices"} & container.keys()
    assert not [mount for mount in container["volumes"] if "docker.sock" in mount]


def test_limits_have_a_default_and_a_variable():
    service, training = (COMPOSE["services"][name] for name in OURS)
    assert re.fullmatch(r"\$\{SERVICE_MEMORY:-\d+g\}", service["mem_limit"])
    assert re.fullmatch(r"\$\{TRAINING_MEMORY:-0\}", training["mem_limit"])
    assert all(re.fullmatch(r"\$\{PIDS_LIMIT:-\d+\}", one["pids_limit"]) for one in (service, training))


def test_containers_mount_weights_and_training_data_read_only():
    service, training = (COMPOSE["services"][name] for name in OURS)
    assert service["volumes"] == ["weights:/weights:ro", "labels:/labels"]
    assert {"./data/train:/data/train:ro", "labels:/labels:ro"} <= set(training["volumes"])


def test_every_setting_is_passed_on():
    """Except for those that the container fixes."""
    passed = {entry.split("=")[0] for entry in COMPOSE["services"]["service"]["environment"]}
    assert {PREFIX + name.upper() for name in Settings.model_fields} - passed == {"SEGMENT_HOST", "SEGMENT_PORT"}


def test_monitoring_is_bound_to_this_machine():
    for name in ("prometheus", "grafana"):
        assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"][name]["ports"])


def test_the_images_run_as_a_user_who_owns_no_code():
    stages = DOCKERFILE.split("\nFROM ")[1:]
    assert len(stages) == 4
    for stage in stages[1:]:
        assert stage.count("USER 10001:10001") == 1
        assert not re.search(r"COPY (?:model|app|training)", stage.split("USER 10001:10001")[1])
    assert "--chown" not in DOCKERFILE
