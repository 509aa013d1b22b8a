"""The process: how it starts, what it logs, how it ends."""

import io
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from model.weights_file import load_weights, save_weights
from tests.end_to_end.http import HTTP

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Serve = Callable[..., Any]
WaitUntil = Callable[[Callable[[], object]], None]


def _check_refused_start(result: "subprocess.CompletedProcess[str]", code: int) -> str:
    """One line on stderr, that exit code, no traceback anywhere; the line."""
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("\n")
    assert "Traceback" not in result.stdout + result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "abc"),
        ("ENGINE", "nonsense"),
        ("TTA", "3"),
        ("DEADLINE_S", "inf"),
        ("HOST", "no.such host"),
        ("LABELS", "/dev/null/labels"),
        ("DEVICE", "cuda:99"),  # well-formed, but no machine has it
        ("TILE", "102"),  # in range, but not a multiple of this net's grid
    ],
)
def test_a_bad_setting_stops_the_start_with_one_line_and_code_2(run_here: Run, variable: str, value: str):
    line = _check_refused_start(run_here(**{variable.lower(): value}), 2)
    assert f"SEGMENT_{variable}={value}" in line


def test_help_names_the_settings_and_arguments_are_refused():
    command = [sys.executable, "-m", "app"]
    helped, refused = (
        subprocess.run([*command, argument], capture_output=True, text=True) for argument in ("--help", "x")
    )
    assert helped.returncode == 0
    assert "SEGMENT_MAX_PIXELS: largest image, pixels" in helped.stdout
    assert refused.returncode == 2
    assert "unrecognized arguments: x" in refused.stderr


def test_an_empty_key_stops_the_start_and_no_key_is_printed(run_app: Run):
    result = run_app(api_keys="hush-hush,,other")
    assert "SEGMENT_API_KEYS" in _check_refused_start(result, 2)
    assert "hush" not in result.stdout + result.stderr


def _missing(path: Path, _: Path) -> None:
    path.unlink(missing_ok=True)


def _truncated(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes()[:-100])


class _Trap:
    """Whoever unpickles it makes a folder."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = str(sprung)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.sprung,)


def _torch_pickle(path: Path, _: Path) -> None:
    torch.save({"weight": torch.zeros(3), "trap": _Trap(path.with_name("sprung"))}, path)


def _plain_pickle(path: Path, _: Path) -> None:
    path.write_bytes(pickle.dumps(_Trap(path.with_name("sprung"))))


def _not_finite(path: Path, good: Path) -> None:
    weights = load_weights(good)
    bias = torch.full_like(weights.tensors["outc.conv.bias"], torch.nan)
    save_weights(path, weights.tensors | {"outc.conv.bias": bias}, weights.description)


@pytest.mark.parametrize("make", [_missing, _truncated, _torch_pickle, _plain_pickle, _not_finite])
def test_bad_weights_stop_the_start_with_one_line_and_code_3(
    run_here: Run, tmp_path: Path, weights_path: Path, make: Callable[[Path, Path], None]
):
    path = tmp_path / "bad.safetensors"
    make(path, weights_path)
    line = _check_refused_start(run_here(weights=path), 3)
    assert f"weights {path}: " in line
    assert ("pickle" in line) == ("pickle" in make.__name__)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("make", [_torch_pickle, _plain_pickle])
@pytest.mark.parametrize("ending", [".zip", ".xml", ".pth"])
def test_a_pickle_stays_one_under_any_name(
    run_here: Run, tmp_path: Path, make: Callable[[Path, Path], None], ending: str
):
    for suffix in (ending, ".bin"):
        make(tmp_path / f"bad{suffix}", tmp_path)
    _check_refused_start(run_here(weights=tmp_path / f"bad{ending}"), 3)
    assert not (tmp_path / "sprung").exists()


def test_weights_that_overflow_stop_the_start_with_one_line_and_code_3(
    run_app: Run, tmp_path: Path, weights_path: Path
):
    weights = load_weights(weights_path)
    huge = {name: 1e5 * tensor if tensor.ndim == 4 else tensor for name, tensor in weights.tensors.items()}
    save_weights(tmp_path / "huge.safetensors", huge, weights.description)
    overflowing = run_app(weights=tmp_path / "huge.safetensors", engine="torch", device="cpu", precision="fp16")
    line = _check_refused_start(overflowing, 3)
    assert "in fp16 by torch on cpu" in line
    assert "not finite" in line
    assert [json.loads(logged)["level"] for logged in overflowing.stdout.splitlines()] == ["info"]


def test_a_port_in_use_ends_the_start_with_code_1(run_app: Run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run_app(port=taken.getsockname()[1])
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stderr == ""
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [("in use" in line["event"]) for line in lines if line["level"] == "error"] == [True]
    assert "ready" not in [line["event"] for line in lines]


def test_a_unix_socket_serves_and_is_removed(serve: Serve, png: bytes, tmp_path: Path):
    path = tmp_path / "segment.sock"
    server = serve(host=f"unix:{path}")
    answer = server.client.post(f"{server.url}/segment", files={"file": png})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert server.end() == 0
    assert not path.exists()


def test_the_newest_weights_of_a_folder_are_served_and_ctrl_c_exits_0(serve: Serve, weights_path: Path, tmp_path: Path):
    for age, name in enumerate(["z.safetensors", "a.safetensors"]):
        copy = Path(shutil.copy(weights_path, tmp_path / name))
        os.utime(copy, (1000 + age, 1000 + age))
    (tmp_path / "notes.txt").write_text("newer than both")
    server = serve(weights=tmp_path)
    assert [line["file"] for line in server.log if line["event"] == "weights"] == [str(tmp_path / "a.safetensors")]
    assert server.end(signal.SIGINT) == 0
    assert "Traceback" not in server.stdout + server.stderr


@pytest.fixture(scope="module")
def guarded(start: Callable[..., Any]) -> Iterator[Any]:
    """A server with two keys that logs all it can."""
    with ExitStack() as stack:
        yield start(stack, api_keys="hush-one,hush-two", log_level="debug", engine="torch")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-API-Key": "hush-three"}, 401),
        ({"Authorization": "Bearer hush-three"}, 401),
        ({"X-API-Key": "hush-two"}, 200),
        ({"Authorization": "Bearer hush-one"}, 200),
    ],
    ids=str,
)
def test_with_keys_set_a_right_one_is_needed(guarded: Any, png: bytes, headers: dict[str, str], status: int):
    response = HTTP.post(f"{guarded.url}/segment", files={"file": png}, headers=headers)
    assert response.status_code == status
    assert response.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


def test_logs_are_json_lines_with_the_request_id_and_without_keys(guarded: Any, png: bytes, wait_until: WaitUntil):
    def send(request_id: str, headers: dict[str, str], data: bytes, query: str = "") -> None:
        headers = headers | {"X-Request-ID": request_id}
        HTTP.post(f"{guarded.url}/segment{query}", files={"file": data}, headers=headers)

    send("log-1", {"Authorization": "Bearer hush-one"}, png)
    send("log-2", {"X-API-Key": "hush-two"}, b"no image")
    send("log-3", {"X-API-Key": "hush-wrong"}, png)
    send("log-4", {}, png, "?api_key=hush-one")
    wait_until(lambda: guarded.logged("log-4"))
    lines = [guarded.logged(f"log-{n}") for n in range(1, 5)]
    assert [[(line["event"], line["path"], line["status"]) for line in of_one] for of_one in lines] == [
        [("request", "/segment", status)] for status in (200, 400, 401, 401)
    ]
    assert all({"time", "level", "event"} <= line.keys() for line in guarded.log)
    assert {"weights", "ready", "request"} == {line["event"] for line in guarded.log}
    assert "hush" not in guarded.stdout + guarded.stderr


def test_probes_are_logged_only_at_debug_level(guarded: Any, server: Any, wait_until: WaitUntil):
    for one in (guarded, server):
        HTTP.get(f"{one.url}/healthz", headers={"X-Request-ID": "probe"})
        HTTP.get(f"{one.url}/model", headers={"X-Request-ID": "after"})
        wait_until(partial(one.logged, "after"))
    assert [line["level"] for line in guarded.logged("probe")] == ["debug"]
    assert server.logged("probe") == []


def test_sigterm_answers_requests_in_flight_and_exits_with_0(
    serve: Serve, wait_until: WaitUntil, png: bytes, pixels: Any
):
    server = serve()
    head = b"POST /segment HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nX-Request-ID: last\r\n"
    with server.connect() as connection:
        connection.sendall(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(png))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")  # so it is admitted and being read
        connection.sendall(png[:50])
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: HTTP.get(f"{server.url}/readyz").status_code == 503)
        assert HTTP.get(f"{server.url}/healthz").status_code == 200
        assert HTTP.post(f"{server.url}/segment", files={"file": png}).status_code == 503
        connection.sendall(png[50:])
        response = HTTPResponse(connection)
        response.begin()
        assert response.status == 200
        assert Image.open(io.BytesIO(response.read())).size == pixels.shape[::-1]
    assert server.process.wait(60) == 0
    assert [line["status"] for line in server.logged("last")] == [200]
    assert "Traceback" not in server.stdout + server.stderr


def test_a_second_ctrl_c_gives_up_requests_and_exits_with_130(serve: Serve, wait_until: WaitUntil, png: bytes):
    server = serve()
    with server.connect() as connection:
        head = b"POST /segment HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nExpect: 100-continue\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(png))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: HTTP.get(f"{server.url}/readyz").status_code == 503)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 130
    assert "Traceback" not in server.stdout + server.stderr


def _metric(server: Any, name: str) -> float:
    text = HTTP.get(f"{server.url}/metrics").text
    return next(s.value for f in text_string_to_metric_families(text) for s in f.samples if s.name == name)


def test_tiles_of_a_client_that_has_gone_are_never_computed(
    serve: Callable[..., Any], wait_until: WaitUntil, png: bytes
):
    server = serve()
    blank = io.BytesIO()
    Image.new("L", (4000, 4000)).save(blank, "PNG")
    with server.connect() as client:
        head = b"POST /segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nX-Request-ID: leaving\r\n"
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % blank.tell() + blank.getvalue())
        wait_until(lambda: _metric(server, "segment_tiles_total") > 0)
        progress = HTTP.get(f"{server.url}/progress/leaving").json()
    wait_until(lambda: _metric(server, "segment_dropped_tiles_total") > 0)
    wait_until(lambda: _metric(server, "segment_queue_pixels") == 0)
    dropped, computed = (_metric(server, f"segment_{name}_total") for name in ("dropped_tiles", "tiles"))
    assert dropped + computed == progress["tiles"]
    assert HTTP.get(f"{server.url}/progress/leaving").status_code == 404
    assert HTTP.post(f"{server.url}/segment", files={"file": png}).status_code == 200
    assert _metric(server, "segment_tiles_total") < computed + 10
