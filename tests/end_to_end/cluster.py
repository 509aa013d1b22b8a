"""A Ray cluster of this machine's own that serves, as `serve run deploy/ray-serve.yaml` starts it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml  # type: ignore[import-untyped]  # no types for one file

from tests.end_to_end.http import HTTP

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300.0


class Cluster:
    """`config`: of deploy/ray-serve.yaml, changed to a small net and a free port."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self.config, self.folder = config, folder
        self.port = config["http_options"]["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> None:
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*_command("serve"), "run", self._written()],
                cwd=ROOT,
                env=_environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait_until(self.is_ready)

    def redeploy(self, weights: Path | None) -> None:
        """Deploys as `serve deploy` does, with other weights."""
        for deployment in self.config["applications"][0]["deployments"]:
            deployment["user_config"] = {"weights": weights and str(weights)}
        [dashboard] = set(re.findall(r"http://127\.0\.0\.1:\d+", self.log.partition("Submitted")[0]))
        answer = HTTP.put(f"{dashboard}/api/serve/applications/", json=self.config)
        assert answer.status_code == 200, answer.text

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            return HTTP.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """The processes of a deployment's replicas, the oldest first."""
        assert self.process is not None
        found = [
            child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if any(f"ServeReplica:segmentation:{deployment}" in part for part in child.cmdline())
        ]
        return sorted(found, key=lambda process: process.create_time())

    def counters(self, name: str) -> dict[str, float]:
        """A counter's values by its label, or by ""."""
        text = HTTP.get(f"{self.url}/metrics").text
        rows = re.findall(rf'^{name}(?:{{\w+="(.*?)"}})? (\S+)$', text, re.MULTILINE)
        return {label: float(value) for label, value in rows}

    def wait_until(self, condition: Any) -> None:
        last = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < last, self.log
            time.sleep(0.1)

    def end(self) -> None:
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        _, alive = psutil.wait_procs(children, timeout=3)
        for process in alive:
            process.kill()
        self.process.wait(PATIENCE_S)

    def _written(self) -> str:
        path = self.folder / "ray-serve.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return str(path)


@contextmanager
def cluster(folder: Path, port: int, engines: int = 2, **settings: object) -> Iterator[Cluster]:
    """So many engines, one front; ready."""
    config = yaml.safe_load((ROOT / "deploy" / "ray-serve.yaml").read_text())
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    [application] = config["applications"]
    application["runtime_env"] = {
        "env_vars": {f"SEGMENT_{name.upper()}": str(value) for name, value in settings.items()}
    }
    [engine] = [each for each in application["deployments"] if each["name"] == "Engine"]
    engine["ray_actor_options"]["num_cpus"] = 0.5  # on however small a machine
    engine["autoscaling_config"] = {"min_replicas": engines, "max_replicas": engines}
    found = Cluster(config, folder)
    try:
        found.start()
        yield found
    finally:
        found.end()


def _command(name: str) -> list[str]:
    return [str(Path(sys.executable).with_name(name))]


def _environment() -> dict[str, str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("SEGMENT_", "RAY_"))}
    ours = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    return outside | ours
