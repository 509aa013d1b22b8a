"""`POST /labels` over HTTP: who may save, what is refused, what is recorded."""

import gzip
import hashlib
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.saving.label_store import LabelStore
from app.service import Service
from model.inputs.preprocessing import Pixels

Serve = Callable[..., TestClient]
Check = Callable[..., dict[str, Any]]
ToFile = Callable[..., bytes]
Files = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "labels"


@pytest.fixture(scope="module")
def application(start: Callable[..., TestClient], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """An application that saves."""
    with ExitStack() as stack:
        labels, origin = tmp_path_factory.mktemp("labels"), "https://listed.example"
        yield start(stack, engine="torch", labels=labels, max_body_bytes=400_000, cors_origins=origin)


@pytest.fixture
def saving(
    application: TestClient, folder: Path, service_of: Callable[[TestClient], Service], monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """An application that saves in an empty folder."""
    service = service_of(application)
    store = LabelStore(folder, service.settings.max_labels, service.settings.max_labels_bytes, service.metrics)
    monkeypatch.setattr(service, "label_store", store)
    yield application
    store.close()


@pytest.fixture
def files(png: bytes, to_file: ToFile) -> Files:
    """A small image and a mask of its size."""
    return {"image": ("cells.png", png), "label": ("l.png", to_file(np.eye(24, 30, dtype=np.uint8) * 255))}


def _records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "provenance").iterdir())]


def _counted(client: TestClient, outcome: str) -> float:
    """The number of labels with an outcome, as the metrics say."""
    [line] = [line for line in client.get("/metrics").text.splitlines() if f'labels_total{{outcome="{outcome}"' in line]
    return float(line.split()[-1])


def _count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def test_a_pair_is_saved_with_its_provenance(saving: TestClient, folder: Path, files: Files):
    fields = {"name": "Mouse 3/../../x", "page": "7", "threshold": "0.3"}
    response = saving.post("/labels", files=files, data=fields)
    assert response.status_code == 201
    answer = response.json()
    assert answer == {"id": answer["id"], "replaced": False, "pairs": 1}
    assert (folder / "image" / f"{answer['id']}.png").read_bytes() == files["image"][1]
    (record,) = _records(folder)
    assert record["weights"] == response.headers["x-model"]
    assert record["key"] is None
    assert [record[name] for name in fields] == ["Mouse 3/../../x", 7, 0.3]


def test_parameters_may_come_in_the_query(saving: TestClient, folder: Path, files: Files):
    assert saving.post("/labels?name=a&page=1", files=files, data={"name": "a"}).status_code == 201
    assert (_records(folder)[0]["name"], _records(folder)[0]["page"]) == ("a", 1)


def test_the_file_name_is_the_name_if_none_is_given(saving: TestClient, folder: Path, files: Files):
    files["image"] = ("../../etc/pass<wd.png", files["image"][1])
    assert saving.post("/labels", files=files).status_code == 201
    assert _records(folder)[0]["name"] == "pass_wd.png"


def test_a_second_label_replaces_the_first(saving: TestClient, folder: Path, files: Files, to_file: ToFile):
    counted = [_counted(saving, outcome) for outcome in ("saved", "replaced", "unchanged")]
    first = saving.post("/labels", files=files).json()
    second = np.ones((24, 30), np.uint16) * 500
    answer = saving.post("/labels", files=files | {"label": ("l", to_file(second))}).json()
    assert answer == {"id": first["id"], "replaced": True, "pairs": 1}
    assert saving.post("/labels", files=files | {"label": ("l", to_file(second))}).json()["replaced"] is False
    assert len(_records(folder)) == len(list((folder / "history").iterdir())) == 2
    now = [_counted(saving, outcome) for outcome in ("saved", "replaced", "unchanged")]
    assert now == [before + 1 for before in counted]


def test_a_body_may_be_compressed(saving: TestClient, files: Files):
    plain = saving.build_request("POST", "/labels", files=files)
    headers = {"Content-Type": plain.headers["content-type"], "Content-Encoding": "gzip"}
    assert saving.post("/labels", content=gzip.compress(plain.read()), headers=headers).status_code == 201


def test_without_the_setting_saving_is_not_found(client: TestClient, check_problem: Check, files: Files):
    assert "SEGMENT_LABELS" in check_problem(client.post("/labels", files=files), 404)["detail"]
    assert client.get("/model").json()["saves_labels"] is False


def test_the_model_reports_that_saving_is_on(saving: TestClient):
    assert saving.get("/model").json()["saves_labels"] is True


def test_the_key_is_recorded_by_its_fingerprint(serve: Serve, folder: Path, files: Files, check_problem: Check):
    locked = serve(labels=folder, api_keys="hush-hush,other")
    check_problem(locked.post("/labels", files=files), 401)
    assert locked.post("/labels", files=files, headers={"X-API-Key": "hush-hush"}).status_code == 201
    (record,) = _records(folder)
    assert record["key"] == hashlib.sha256(b"hush-hush").hexdigest()[:8]
    assert "hush" not in json.dumps(record)


def _turned(files: Files, to_file: ToFile) -> dict[str, Any]:
    return {"files": files | {"label": ("l", to_file(np.zeros((30, 24), np.uint8)))}}


@pytest.mark.parametrize(
    ("change", "status", "detail"),
    [
        (lambda files, _: {"files": files, "data": {"nam": "a"}}, 422, "There is no parameter nam; the parameters are"),
        (lambda files, _: {"files": files, "params": {"output": "mask"}}, 422, "the parameters are model, name, page"),
        (lambda files, _: {"files": files, "data": {"threshold": "1"}}, 422, "Parameter threshold"),
        (lambda files, _: {"files": files, "data": {"name": "n" * 201}}, 422, "Parameter name"),
        (lambda files, _: {"files": files, "params": {"page": "-1"}}, 422, "Parameter page"),
        (lambda files, _: {"files": {"image": files["image"]}}, 422, "The form has no files named label"),
        (lambda files, _: {"files": {"label": files["label"]}}, 422, "The form has no files named image"),
        (lambda files, _: {"files": [*files.items(), *files.items()]}, 422, "The form has 2 files named image"),
        (lambda files, _: {"files": files | {"mask": files["label"]}}, 422, "There is no file mask; send one file"),
        (lambda files, _: {"files": {"image": files["image"]}, "data": {"label": "1"}}, 422, "The part label is text"),
        (lambda *_: {"content": b"a", "headers": {"Content-Type": "image/png"}}, 415, "Send multipart/form-data"),
        (lambda files, _: {"files": files | {"image": b"no image"}}, 400, "Part image: The file is not an image"),
        (lambda files, _: {"files": files | {"label": bytes(500_000)}}, 413, "The body is larger than 400000 bytes"),
        (_turned, 422, "both must have the same size"),
    ],
)
def test_a_wrong_request_is_refused_and_nothing_is_written(
    saving: TestClient,
    folder: Path,
    files: Files,
    to_file: ToFile,
    check_problem: Check,
    change: Any,
    status: int,
    detail: str,
):
    before = _count(folder)
    assert detail in check_problem(saving.post("/labels", **change(files, to_file)), status)["detail"]
    assert _count(folder) == before == 0


def test_a_broken_form_is_refused(saving: TestClient, check_problem: Check):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    check_problem(saving.post("/labels", content=b"--b\r\nX", headers=headers), 400)


def test_a_full_folder_is_insufficient_storage(serve: Serve, folder: Path, files: Files, check_problem: Check):
    small = serve(labels=folder, max_labels_bytes=4096)
    problem = check_problem(small.post("/labels", files=files), 507)
    assert problem["detail"] == "The folder of labels is full: SEGMENT_MAX_LABELS_BYTES allows 4096 bytes."
    assert _count(folder) == 0
    assert 'segment_labels_total{outcome="refused"} 1.0' in small.get("/metrics").text


def test_a_folder_that_vanished_is_insufficient_storage(
    saving: TestClient, folder: Path, files: Files, check_problem: Check
):
    folder.rename(folder.with_name("moved"))
    check_problem(saving.post("/labels", files=files), 507)
    folder.with_name("moved").rename(folder)
    assert saving.post("/labels", files=files).status_code == 201


def test_files_that_cannot_be_written_leave_nothing(
    saving: TestClient,
    folder: Path,
    make_image: Callable[..., Pixels],
    to_file: ToFile,
    check_problem: Check,
):
    """The limit on the size of files fails in the middle of a write, as a full disk does."""
    image = {"image": ("i", to_file(make_image(150, 150))), "label": ("l", to_file(np.zeros((150, 150), np.uint8)))}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        check_problem(saving.post("/labels", files=image), 507)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _count(folder) == 0
    assert saving.post("/labels", files=image).status_code == 201


def test_a_full_queue_refuses_pairs_as_it_refuses_images(
    saving: TestClient, service_of: Callable[[TestClient], Service], files: Files, check_problem: Check
):
    capacity = service_of(saving).net.scheduler.capacity
    reservation = capacity.reserve(10**9)
    response = saving.post("/labels", files=files)
    check_problem(response, 503)
    assert "retry-after" in response.headers
    capacity.release(reservation, 10**9)
    assert saving.post("/labels", files=files).status_code == 201


def test_classes_are_those_of_the_net(
    serve: Serve, classes_path: Path, folder: Path, files: Files, to_file: ToFile, check_problem: Check
):
    classes = serve(labels=folder, weights=classes_path)
    assert "classes are 0 to 2" in check_problem(classes.post("/labels", files=files), 422)["detail"]
    label = ("l", to_file(np.full((24, 30), 2, np.uint8)))
    assert classes.post("/labels", files=files | {"label": label}).status_code == 201
    assert (_records(folder)[0]["kind"], _records(folder)[0]["classes"]) == ("classes", 3)


def test_pages_of_other_origins_may_save(serve: Serve, folder: Path, files: Files):
    origin = {"Origin": "https://a.example"}
    page = serve(labels=folder, cors_origins="https://a.example", api_keys="secret")
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    assert page.options("/labels", headers=asked).headers["access-control-allow-origin"] == "https://a.example"
    response = page.post("/labels", files=files, headers={**origin, "X-API-Key": "secret"})
    assert response.status_code == 201
    assert "X-Model" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://testserver:3000"}, 403),
        ({"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://[", "X-Forwarded-Host": "a"}, 403),
        ({"Origin": "http://testserver"}, 201),
        ({"Origin": "https://lab.example", "X-Forwarded-Host": "lab.example"}, 201),
        ({"Origin": "https://lab.example", "Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "https://listed.example", "Sec-Fetch-Site": "cross-site"}, 201),
        ({}, 201),
    ],
)
def test_forms_of_other_sites_are_refused(
    saving: TestClient, folder: Path, files: Files, check_problem: Check, headers: dict[str, str], status: int
):
    response = saving.post("/labels", files=files, headers=headers)
    if status == 201:
        assert response.status_code == 201
    else:
        assert "SEGMENT_CORS_ORIGINS" in check_problem(response, status)["detail"]
        assert _count(folder) == 0


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_nothing_is_written_outside_the_folder(saving: TestClient, tmp_path: Path, files: Files):
    for name in ("../../out", "/tmp/out", "..\\..\\out", "a/../../../out.png", "\0", ".hidden", "CON", "n" * 200):  # noqa: S108
        saving.post("/labels", files=files | {"image": (name, files["image"][1])}, data={"name": name})
    assert {path.name for path in tmp_path.iterdir()} == {"labels"}
    names = {path.name for path in (tmp_path / "labels").rglob("*") if path.is_file()}
    assert all(name[:32].isalnum() and len(name) > 32 for name in names)
