"""`POST /segment`: what goes in, what comes out."""

import gzip
import io
import json
import re
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app import pipeline
from app.metrics import Metrics
from app.service import Service
from model.images.decoding import decode_image, decode_pages
from model.inputs.preprocessing import Pixels
from model.segmenter import Segmenter

MakeImage = Callable[..., Pixels]
ToFile = Callable[..., bytes]
ReadPng = Callable[[Any], Pixels]
Check = Callable[..., dict[str, Any]]
EMPTY_FORM = {"content": b"--b--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}

WaitUntil = Callable[[Callable[[], object]], None]


def _metric(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"segment_{name}", labels)


@pytest.fixture
def still_serving(client: TestClient, png: bytes) -> Iterator[None]:
    """Whatever the test did, the next request is answered."""
    yield
    assert client.post("/segment", files={"file": png}).status_code == 200
    assert client.get("/metrics").text.count("segment_queue_pixels 0.0\n") == 1


# --- Ways to send an image --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ways",
    [
        {"files": {"file": ("a.png", b"IMAGE", "image/png")}},
        {"files": {"image": ("a.png", b"IMAGE", "image/png")}},
        {"files": {"file": ("a", b"IMAGE", "text/plain")}},
        {"files": {"file": ("a.png", b"IMAGE")}, "data": {"output": "mask", "class": "0"}},
        {"content": b"IMAGE", "headers": {"Content-Type": "image/png"}},
        {"content": b"IMAGE", "headers": {"Content-Type": "IMAGE/PNG; charset=binary"}},
        {"content": b"IMAGE", "headers": {"Content-Type": "image/jpeg"}},
        {"content": b"IMAGE", "headers": {"Content-Type": "application/octet-stream"}},
    ],
    ids=["file", "image", "any part type", "with fields", "raw", "odd case", "wrong subtype", "octet-stream"],
)
def test_an_image_may_be_sent_in_several_ways(
    client: TestClient, segmenter: Segmenter, png: bytes, read_png: ReadPng, ways: dict[str, Any]
):
    def filled(value: Any) -> Any:
        match value:
            case b"IMAGE":
                return png
            case dict():
                return {key: filled(item) for key, item in value.items()}
            case list() | tuple():
                return type(value)(filled(item) for item in value)
        return value

    response = client.post("/segment", **filled(ways))
    assert np.array_equal(read_png(response), segmenter.mask(decode_image(png)))


def test_form_fields_are_parameters(client: TestClient, png: bytes):
    query = client.post("/segment?output=probability", files={"file": png})
    fields = client.post("/segment", files={"file": png}, data={"output": "probability"})
    both = client.post("/segment?output=probability&class=0", files={"file": png}, data={"output": "probability"})
    assert both.content == fields.content == query.content
    assert client.post("/segment?threshold=0.6", files={"file": png}, data={"output": "geojson"}).json() == (
        client.post("/segment?output=geojson&threshold=0.6", files={"file": png}).json()
    )


@pytest.mark.parametrize("coding", ["gzip", "deflate", "GZIP"])
@pytest.mark.parametrize("way", ["form", "raw"])
def test_a_compressed_body_is_decompressed(client: TestClient, png: bytes, coding: str, way: str):
    plain = _as_form(png) if way == "form" else png
    kind = "multipart/form-data; boundary=b" if way == "form" else "image/png"
    body = gzip.compress(plain) if coding.lower() == "gzip" else zlib.compress(plain)
    response = client.post("/segment", content=body, headers={"Content-Type": kind, "Content-Encoding": coding})
    assert response.content == client.post("/segment", files={"file": png}).content


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (b"no gzip", "gzip", 400),
        (gzip.compress(b"cut off" * 99)[:-9], "gzip", 400),
        (gzip.compress(bytes(500_000)), "gzip", 413),
        (b"image", "br", 415),
        (b"image", "gzip, gzip", 415),
    ],
    ids=["no gzip", "cut off", "too large", "unknown", "twice"],
)
def test_a_badly_compressed_body_is_refused(
    client: TestClient, check_problem: Check, body: bytes, coding: str, status: int
):
    headers = {"Content-Type": "image/png", "Content-Encoding": coding}
    check_problem(client.post("/segment", content=body, headers=headers), status)


def _as_form(png: bytes, name: str = "a.png") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return head + png + b"\r\n--b--\r\n"


# --- Formats and sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "options"),
    [
        ((1, 1, 0), np.uint8, "PNG", {}),
        ((37, 1031, 0), np.uint8, "PNG", {}),
        ((300, 200, 0), np.uint8, "PNG", {}),
        ((40, 50, 3), np.uint8, "PNG", {}),
        ((40, 50, 4), np.uint8, "PNG", {}),
        ((130, 50, 0), np.uint16, "PNG", {}),
        ((40, 50, 0), np.uint8, "TIFF", {}),
        ((40, 50, 0), np.uint16, "TIFF", {}),
        ((40, 50, 3), np.uint8, "TIFF", {"compression": "tiff_lzw"}),
        ((40, 50, 0), np.uint8, "BMP", {}),
        ((40, 50, 3), np.uint8, "BMP", {}),
        ((40, 50, 3), np.uint8, "WEBP", {"lossless": True}),
    ],
    ids=str,
)
def test_the_mask_is_the_segmenters_at_the_images_size(
    client: TestClient,
    segmenter: Segmenter,
    make_image: MakeImage,
    to_file: ToFile,
    read_png: ReadPng,
    shape: tuple[int, int, int],
    dtype: Any,
    kind: str,
    options: dict[str, Any],
):
    pixels = make_image(*shape, dtype=dtype)
    mask = read_png(client.post("/segment", files={"file": to_file(pixels, kind, **options)}))
    assert mask.dtype == np.uint8
    assert mask.shape == shape[:2]
    assert np.array_equal(mask, segmenter.mask(pixels))
    assert set(np.unique(mask)) <= {0, 255}
    if mask.size > 1:
        assert len(np.unique(mask)) == 2  # or the comparison would say little


def test_downsampling_nets_give_full_size_masks_without_seams(
    serve: Callable[..., TestClient],
    half_scale_path: Path,
    make_segmenter: Callable[..., Segmenter],
    make_image: MakeImage,
    to_file: ToFile,
    read_png: ReadPng,
):
    client = serve(weights=half_scale_path, tile=32)
    assert client.get("/model").json()["architecture"]["downsampling"] == 2
    whole = make_segmenter(half_scale_path)
    for size in [(1, 1), (127, 81)]:
        pixels = make_image(*size)
        mask = read_png(client.post("/segment", files={"file": to_file(pixels)}))
        assert mask.shape == size
        assert np.array_equal(mask, whole.mask(pixels))


def test_a_package_is_served_as_the_weights_in_it(
    serve: Callable[..., TestClient],
    client: TestClient,
    weights_path: Path,
    png: bytes,
    read_png: ReadPng,
    tmp_path: Path,
):
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as package:
        package.write(weights_path, "weights.safetensors")
    answers = [one.post("/segment", files={"file": png}) for one in (serve(weights=tmp_path / "package.zip"), client)]
    assert np.array_equal(read_png(answers[0]), read_png(answers[1]))
    assert answers[0].headers["x-model"] == answers[1].headers["x-model"]


def test_a_palette_is_resolved(client: TestClient, segmenter: Segmenter, make_image: MakeImage, read_png: ReadPng):
    palette = Image.fromarray(make_image(40, 50, 3)).quantize(17)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG")
    mask = read_png(client.post("/segment", files={"file": buffer.getvalue()}))
    assert np.array_equal(mask, segmenter.mask(np.array(palette.convert("RGB"))))


def test_a_progressive_jpeg_is_read_whole(
    client: TestClient, segmenter: Segmenter, make_image: MakeImage, to_file: ToFile, read_png: ReadPng
):
    data = to_file(make_image(140, 90, 3), "JPEG", progressive=True, quality=90)
    assert b"\xff\xc2" in data  # the marker of progressive frames
    mask = read_png(client.post("/segment", files={"file": data}))
    assert np.array_equal(mask, segmenter.mask(decode_image(data)))


# --- Outputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (150, 37)])
def test_probability_is_16_bits_of_what_the_segmenter_says(
    client: TestClient,
    segmenter: Segmenter,
    make_image: MakeImage,
    to_file: ToFile,
    read_png: ReadPng,
    size: tuple[int, int],
):
    pixels = make_image(*size)
    image = read_png(client.post("/segment?output=probability", files={"file": to_file(pixels)}))
    assert image.dtype == np.uint16
    assert np.array_equal(image, np.rint(segmenter.probabilities(pixels)[0] * 65535))


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.6, 0.99])
def test_the_threshold_decides_what_is_foreground(
    client: TestClient, segmenter: Segmenter, png: bytes, read_png: ReadPng, threshold: float
):
    mask = read_png(client.post("/segment", params={"threshold": threshold}, files={"file": png}))
    assert np.array_equal(mask, segmenter.mask(decode_image(png), threshold))


def test_without_a_threshold_it_is_the_stored_one(client: TestClient, png: bytes, read_png: ReadPng):
    default, stored, half = (
        read_png(client.post(f"/segment{query}", files={"file": png}))
        for query in ("", "?threshold=0.4", "?threshold=0.5")
    )
    assert np.array_equal(default, stored)
    assert not np.array_equal(default, half)


@pytest.fixture(scope="module")
def classes_client(start: Callable[..., TestClient], classes_path: Path) -> Iterator[TestClient]:
    with ExitStack() as stack:
        yield start(stack, weights=classes_path)


def test_a_class_mask_holds_class_indices(
    classes_client: TestClient,
    make_segmenter: Callable[..., Segmenter],
    classes_path: Path,
    png: bytes,
    read_png: ReadPng,
):
    mask = read_png(classes_client.post("/segment", files={"file": png}))
    probabilities = make_segmenter(classes_path).probabilities(decode_image(png))
    assert np.array_equal(mask, probabilities.argmax(axis=0))
    assert set(np.unique(mask)) == {0, 1, 2}


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_class_parameter_chooses_the_probability(
    classes_client: TestClient,
    make_segmenter: Callable[..., Segmenter],
    classes_path: Path,
    png: bytes,
    read_png: ReadPng,
    index: int,
):
    params: dict[str, str | int] = {"output": "probability", "class": index}
    image = read_png(classes_client.post("/segment", params=params, files={"file": png}))
    probabilities = make_segmenter(classes_path).probabilities(decode_image(png))
    assert np.array_equal(image, np.rint(probabilities[index] * 65535))


def test_a_class_the_net_does_not_have_is_refused(classes_client: TestClient, check_problem: Check, png: bytes):
    response = classes_client.post("/segment?class=3", files={"file": png})
    assert "0 to 2" in check_problem(response, 422)["detail"]


def test_instances_coco_and_geojson_are_of_one_mask(client: TestClient, png: bytes, read_png: ReadPng):
    mask = read_png(client.post("/segment", files={"file": png}))
    ids = read_png(client.post("/segment?output=instances", files={"file": png}))
    coco = client.post("/segment?output=coco", files={"file": ("cells.png", png)})
    geojson = client.post("/segment?output=geojson", files={"file": ("cells.png", png)})
    assert ids.dtype == np.uint16
    assert np.array_equal(ids > 0, mask > 0)
    assert coco.headers["content-type"] == "application/json"
    assert coco.headers["content-disposition"] == 'inline; filename="cells_coco.json"'
    assert geojson.headers["content-type"] == "application/geo+json"
    assert geojson.headers["content-disposition"] == 'inline; filename="cells_geojson.geojson"'
    assert len(coco.json()["annotations"]) == len(geojson.json()["features"]) == ids.max() > 0
    assert sum(feature["properties"]["area"] for feature in geojson.json()["features"]) == np.count_nonzero(mask)


def test_an_overlay_is_a_colour_picture(client: TestClient, png: bytes):
    response = client.post("/segment?output=overlay", files={"file": png})
    with Image.open(io.BytesIO(response.content)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        assert (picture.height, picture.width) == decode_image(png).shape[:2]


def test_the_threshold_counts_for_objects_too(client: TestClient, png: bytes, read_png: ReadPng):
    mask = read_png(client.post("/segment?threshold=0.6", files={"file": png}))
    ids = read_png(client.post("/segment?output=instances&threshold=0.6", files={"file": png}))
    assert np.array_equal(ids > 0, mask > 0)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "image/png"),
        ("image/png", "image/png"),
        ("image/tiff", "image/tiff"),
        ("image/webp, image/*", "image/png"),
        ("application/geo+json", "application/geo+json"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "image/png"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "image/png"),
        ("image/tiff, image/png;q=0.9", "image/tiff"),
        ("", "image/png"),
    ],
)
def test_the_accept_header_chooses_where_no_output_is_named(client: TestClient, png: bytes, accept: str, expected: str):
    response = client.post("/segment", files={"file": png}, headers={"Accept": accept})
    assert response.headers["content-type"] == expected


def test_an_output_that_is_named_counts_more_than_the_accept_header(client: TestClient, png: bytes):
    response = client.post("/segment?output=coco", files={"file": png}, headers={"Accept": "application/geo+json"})
    assert response.headers["content-type"] == "application/json"
    assert "annotations" in response.json()
    response = client.post("/segment?output=overlay", files={"file": png}, headers={"Accept": "image/tiff, */*;q=0.1"})
    assert response.headers["content-type"] == "image/tiff"


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize("accept", ["text/html", "image/webp, video/*", "image/*;q=0, application/xml"])
def test_an_accept_header_that_excludes_all_outputs_gives_406(
    client: TestClient, check_problem: Check, png: bytes, accept: str
):
    problem = check_problem(client.post("/segment", files={"file": png}, headers={"Accept": accept}), 406)
    assert "image/png, image/tiff, application/geo+json, application/json" in problem["detail"]


# --- Stacks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pages(make_image: MakeImage) -> list[Pixels]:
    """Of two sizes, one larger than a tile."""
    return [make_image(*size, seed=seed) for seed, size in enumerate([(20, 30), (20, 30), (150, 140), (20, 30)])]


@pytest.fixture
def stack(pages: list[Pixels], to_file: ToFile) -> bytes:
    return to_file(pages[0], "TIFF", save_all=True, append_images=[Image.fromarray(page) for page in pages[1:]])


@pytest.mark.parametrize("output", ["mask", "probability", "instances", "overlay"])
def test_a_stack_comes_back_as_a_tiff_of_as_many_pages(
    client: TestClient, stack: bytes, pages: list[Pixels], to_file: ToFile, output: str
):
    response = client.post(f"/segment?output={output}", files={"file": ("cells.tif", stack)})
    assert response.headers["content-type"] == "image/tiff"
    assert response.headers["content-disposition"] == f'inline; filename="cells_{output}.tif"'
    answers = decode_pages(response.content)
    for answer, page in zip(answers, pages, strict=True):
        alone = client.post(f"/segment?output={output}", files={"file": to_file(page)})
        assert np.array_equal(answer, decode_image(alone.content))


def test_objects_of_a_stack_say_their_page(client: TestClient, stack: bytes, pages: list[Pixels]):
    coco = client.post("/segment?output=coco", files={"file": stack}).json()
    assert [(image["height"], image["width"]) for image in coco["images"]] == [page.shape for page in pages]
    features = client.post("/segment?output=geojson", files={"file": stack}).json()["features"]
    assert {feature["properties"]["page"] for feature in features} == {0, 1, 2, 3}
    assert len(features) == len(coco["annotations"])


@pytest.mark.usefixtures("still_serving")
def test_a_stack_with_a_broken_page_is_refused(client: TestClient, check_problem: Check, stack: bytes):
    check_problem(client.post("/segment", files={"file": stack[:-40]}), 400)


# --- Headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["abc-1.2_3", "x" * 128])
def test_a_safe_request_id_is_echoed(client: TestClient, given: str):
    assert client.get("/healthz", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 129, "<b>", "a;b", "a\tb", "ünsafe", '"'])
def test_a_missing_or_unsafe_request_id_is_replaced(client: TestClient, given: str | None):
    headers = {} if given is None else {b"X-Request-ID": given.encode()}
    made = [client.get("/healthz", headers=headers).headers["x-request-id"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    assert made[0] != made[1]


def test_errors_carry_the_request_id_too(client: TestClient, check_problem: Check):
    assert check_problem(client.get("/nowhere", headers={"X-Request-ID": "mine"}), 404)["request_id"] == "mine"


def test_the_model_has_the_limits_of_requests(serve: Callable[..., TestClient]):
    limits = {"max_body_bytes": 2048, "max_pixels": 5000}
    assert serve(**limits).get("/model").json()["limits"] == limits


def test_the_answer_names_model_and_stages(client: TestClient, png: bytes):
    response = client.post("/segment", files={"file": png})
    model = client.get("/model").json()
    assert response.headers["x-model"] == f"{model['name']}@{model['sha256'][:12]}"
    number = r"dur=\d+\.\d"
    stages = f"decode;{number}, queue;{number}, infer;{number}, encode;{number}"
    assert re.fullmatch(stages, response.headers["server-timing"])


@pytest.mark.parametrize(
    ("filename", "stem"),
    [
        ("cells.png", "cells"),
        ("a.b.tif", "a.b"),
        ("no ending", "no ending"),
        ("../../etc/passwd.png", "passwd"),
        ("..\\..\\windows\\system.png", "system"),
        ("/abs/olute.png", "olute"),
        ("semi;colon=1.png", "semi_colon_1"),
        ("x" * 300 + ".png", "x" * 100),
        ("   .png", "image"),
        ("tab\tnul\0.png", None),
        ('quote".png', None),
        ("line\r\nSet-Cookie: a=b.png", None),
        ("back\\", None),
    ],
)
def test_the_name_of_the_answer_is_safe(client: TestClient, png: bytes, filename: str, stem: str | None):
    response = client.post("/segment", files={"file": (filename, png)})
    disposition = response.headers["content-disposition"]
    assert re.fullmatch(r'inline; filename="[A-Za-z0-9._ -]{1,100}_mask\.png"', disposition)
    assert "set-cookie" not in response.headers
    if stem is not None:
        assert disposition == f'inline; filename="{stem}_mask.png"'


@pytest.mark.parametrize(
    ("filename", "simple", "encoded"),
    [
        ("日本.png", "__", "%E6%97%A5%E6%9C%AC"),
        ("naïve 1.png", "na_ve 1", "na%C3%AFve%201"),
        ("nai\u0308ve.png", "na_ve", "na%C3%AFve"),
        ("हिन्दी.png", "______", "%E0%A4%B9%E0%A4%BF%E0%A4%A8%E0%A5%8D%E0%A4%A6%E0%A5%80"),
        ("\u202egnp.exe\u2018\u2019.png", "_gnp.exe__", None),
    ],
    ids=ascii,
)
def test_a_name_in_any_script_is_kept(client: TestClient, png: bytes, filename: str, simple: str, encoded: str | None):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = client.post("/segment", content=_as_form(png, filename), headers=headers)
    tail = "" if encoded is None else f"; filename*=UTF-8''{encoded}_mask.png"
    assert response.headers["content-disposition"] == f'inline; filename="{simple}_mask.png"{tail}'


@pytest.mark.parametrize("name", ['a"; filename="b', "a\\", 'a\\"b', "*"])
def test_a_name_that_plays_with_quotes_stays_inside_its_own(client: TestClient, png: bytes, name: str):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = client.post("/segment", content=_as_form(png, f"{name}.png"), headers=headers)
    assert response.status_code == 200
    assert response.headers["content-disposition"].count('"') == 2


def test_the_name_says_the_output_and_has_a_default(client: TestClient, png: bytes):
    response = client.post("/segment?output=probability", content=png, headers={"Content-Type": "image/png"})
    assert response.headers["content-disposition"] == 'inline; filename="image_probability.png"'


# --- Errors -----------------------------------------------------------------------------------------------------------


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"this is no image", 400),
        (b"", 400),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 400),
        (b"\xff\xd8\xff\xe0" + bytes(100), 400),
        (b"II*\x00" + b"\xff" * 100, 400),
        (b"BM" + bytes(100), 400),
        (b"RIFF\x00\x00\x00\x00WEBP" + bytes(100), 400),
        (_png_claiming(100, 100), 400),
        (_png_claiming(0, 5), 400),
        (_png_claiming(100_000, 100_000), 422),
        (b"GIF89a" + bytes(50), 415),
        (b"%PDF-1.7", 415),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("way", ["form", "raw"])
def test_a_bad_file_has_its_status(client: TestClient, check_problem: Check, data: bytes, status: int, way: str):
    body: dict[str, Any] = {"content": data, "headers": {"Content-Type": "image/png"}}
    if way == "form":
        body = {"files": {"file": ("a.png", data)}}
    check_problem(client.post("/segment", **body), status)


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_image_is_refused(
    client: TestClient, check_problem: Check, make_image: MakeImage, to_file: ToFile, kind: str, share: float
):
    data = to_file(make_image(60, 70, 3), kind)
    check_problem(client.post("/segment", files={"file": data[: int(share * len(data))]}), 400)


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize(
    "query",
    [
        *("threshold=7", "threshold=0", "threshold=1", "threshold=-1", "threshold=nan", "threshold=x", "threshold="),
        *("output=nonsense", "output=", "class=-1", "class=1", "class=a", "class=1.5"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(client: TestClient, check_problem: Check, png: bytes, query: str):
    response = client.post(f"/segment?{query}", files={"file": png})
    assert check_problem(response, 422)["detail"].startswith(f"Parameter {query.split('=')[0]}: ")


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize(
    ("query", "fields", "detail"),
    [
        (
            "?treshold=0.3",
            {},
            "There is no parameter treshold; the parameters are model, output, threshold, channel, min_area, class.",
        ),
        (
            "",
            {"treshold": "0.3"},
            "There is no parameter treshold; the parameters are model, output, threshold, channel, min_area, class.",
        ),
        ("?class_index=0", {}, "There is no parameter class_index;"),
        ("?%3Cb%3E=1", {}, "There is no parameter b;"),
        ("?=1", {}, "There is no parameter of this name;"),
        ("?threshold=0.3&threshold=0.4", {}, "Parameter threshold is given twice, with two values."),
        ("?threshold=0.3", {"threshold": "0.4"}, "Parameter threshold is given twice, with two values."),
        ("", {"threshold": "7"}, "Parameter threshold: "),
        ("", {"class": "1"}, "Parameter class: "),
    ],
)
def test_unknown_and_contradictory_parameters_are_refused(
    client: TestClient, check_problem: Check, png: bytes, query: str, fields: dict[str, str], detail: str
):
    response = client.post(f"/segment{query}", files={"file": png}, data=fields)
    assert check_problem(response, 422)["detail"].startswith(detail)


def test_error_answers_do_not_echo_the_clients_input(client: TestClient, check_problem: Check, png: bytes):
    response = client.post("/segment?output=%3Cscript%3E&threshold=secret", files={"file": png})
    check_problem(response, 422)
    assert "script" not in response.text


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize(
    ("form", "detail"),
    [
        ({"files": {"other": b"x"}}, "The file is in a part named other;"),
        (EMPTY_FORM, "The form has no file in a part named file"),
        ({"data": {"file": "text"}, "files": {"other": b"x"}}, "The part file is text;"),
        ({"files": {"File": b"x"}}, "The file is in a part named File;"),
        ({"files": [("file", b"x"), ("file", b"x")]}, "The form has 2 files;"),
        ({"files": [("file", b"x"), ("image", b"x")]}, "The form has 2 files;"),
        ({"files": [("file", b"x"), ("other", b"x")]}, "The form has 2 files;"),
    ],
    ids=["other name", "no part", "text, no file", "other case", "two files", "file and image", "file and another"],
)
def test_a_form_must_have_exactly_one_file(client: TestClient, check_problem: Check, form: dict[str, Any], detail: str):
    problem = check_problem(client.post("/segment", **form), 422)
    assert problem["detail"].startswith(detail)
    assert "part named file" in problem["detail"]


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json", "application/x-www-form-urlencoded", "video/x", "", None]
)
def test_a_body_of_another_type_is_refused(client: TestClient, check_problem: Check, png: bytes, kind: str | None):
    headers = {} if kind is None else {"Content-Type": kind}
    check_problem(client.post("/segment", content=png, headers=headers), 415)


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"anything"),
        ("multipart/form-data; boundary=", b"anything"),
        ("multipart/form-data; boundary=b", b"no boundary at all"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nbad header\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=" + "b" * 5000, b"x"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_broken_form_is_refused(client: TestClient, check_problem: Check, kind: str, body: bytes):
    check_problem(client.post("/segment", content=body, headers={"Content-Type": kind}), 400)


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize("cut", [b"", b"\r\n", b"\r\n--b"])
def test_a_form_that_ends_too_early_is_refused(client: TestClient, check_problem: Check, png: bytes, cut: bytes):
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + png + cut
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    check_problem(client.post("/segment", content=body, headers=headers), 400)


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize(
    "form", [{"files": [("file", b"x")] * 9}, {"data": {str(n): "x" for n in range(17)}, "files": {"file": b"x"}}]
)
def test_a_form_of_too_many_parts_is_refused(client: TestClient, check_problem: Check, form: dict[str, Any]):
    check_problem(client.post("/segment", **form), 400)


@pytest.mark.usefixtures("still_serving")
@pytest.mark.parametrize("way", ["form", "raw"])
def test_a_body_over_the_limit_is_refused(client: TestClient, check_problem: Check, way: str):
    large = bytes(400_001)
    body: dict[str, Any] = {"content": large, "headers": {"Content-Type": "image/png"}}
    if way == "form":
        body = {"files": {"file": large}}
    assert "400000 bytes" in check_problem(client.post("/segment", **body), 413)["detail"]


def test_unknown_paths_and_methods_are_problems(client: TestClient, check_problem: Check):
    assert "POST /segment" in check_problem(client.get("/nowhere"), 404)["detail"]
    response = client.get("/segment")
    assert "GET /docs" in check_problem(response, 405)["detail"]
    assert response.headers["allow"] == "POST"


def test_an_image_of_the_wrong_channels_is_refused(
    serve: Callable[..., TestClient],
    stored_channels_path: Path,
    check_problem: Check,
    make_image: MakeImage,
    to_file: ToFile,
):
    client = serve(weights=stored_channels_path)
    assert client.post("/segment", files={"file": to_file(make_image(20, 20, 3))}).status_code == 200
    response = client.post("/segment", files={"file": to_file(make_image(20, 20))})
    assert "3 channels" in check_problem(response, 422)["detail"]


# --- The queue, the deadline, the engine ------------------------------------------------------------------------------


def test_a_full_queue_refuses_early_and_late_and_recovers(
    serve: Callable[..., TestClient],
    hold: Callable[[TestClient], Any],
    service_of: Callable[[TestClient], Service],
    check_problem: Check,
    make_image: MakeImage,
    to_file: ToFile,
    wait_until: WaitUntil,
    png: bytes,
):
    client = serve(max_queue_pixels=128 * 128 + 1)
    engine, metrics = hold(client), service_of(client).metrics
    whole_tile: dict[str, Any] = {"files": {"file": to_file(make_image(128, 128))}}
    with ThreadPoolExecutor(2) as pool:
        accepted = pool.submit(client.post, "/segment", **whole_tile)
        wait_until(lambda: engine.batches)
        late = client.post("/segment", **whole_tile)  # there is room, but not for this one
        check_problem(late, 503)
        assert 1 <= int(late.headers["retry-after"]) <= 300
        engine.gate.set()
        assert accepted.result().status_code == 200
    assert _metric(metrics, "rejected_total", reason="overload") == 1
    assert _metric(metrics, "queue_pixels") == 0
    assert client.post("/segment", files={"file": png}).status_code == 200


def test_a_full_queue_refuses_before_the_body_is_looked_at(
    serve: Callable[..., TestClient],
    hold: Callable[[TestClient], Any],
    check_problem: Check,
    wait_until: WaitUntil,
    png: bytes,
):
    client = serve(max_queue_pixels=1)
    engine = hold(client)
    with ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(client.post, "/segment", files={"file": png})  # larger than the queue, but alone
        wait_until(lambda: engine.batches)
        check_problem(client.post("/segment", content=b"no image", headers={"Content-Type": "text/plain"}), 503)
        engine.gate.set()
        assert accepted.result().status_code == 200
    assert client.post("/segment", files={"file": png}).status_code == 200


def test_a_request_past_its_deadline_is_cancelled_with_its_tiles(
    serve: Callable[..., TestClient],
    hold: Callable[[TestClient], Any],
    service_of: Callable[[TestClient], Service],
    check_problem: Check,
    make_image: MakeImage,
    to_file: ToFile,
    wait_until: WaitUntil,
):
    client = serve(deadline_s=0.5)
    engine, metrics = hold(client), service_of(client).metrics
    response = client.post("/segment", files={"file": to_file(make_image(400, 400))})
    assert "0.5 s" in check_problem(response, 504)["detail"]
    engine.gate.set()
    wait_until(lambda: _metric(metrics, "queue_pixels") == 0)
    assert _metric(metrics, "dropped_tiles_total") in {23, 24, 25}  # of 25; each of two streams may have begun one
    assert client.get("/readyz").status_code == 200


def test_a_deadline_that_cannot_be_met_gives_504_each_time(
    serve: Callable[..., TestClient], check_problem: Check, png: bytes
):
    client = serve(deadline_s=1e-9)
    for _ in range(2):
        check_problem(client.post("/segment", files={"file": png}), 504)


def test_an_engine_error_is_a_503_without_details(
    serve: Callable[..., TestClient],
    hold: Callable[[TestClient], Any],
    check_problem: Check,
    caplog: pytest.LogCaptureFixture,
    png: bytes,
):
    client = serve()
    engine = hold(client)
    engine.gate.set()
    engine.failures.append(RuntimeError("secret at /srv/weights"))
    response = client.post("/segment", files={"file": png}, headers={"X-Request-ID": "failed-one"})
    check_problem(response, 503)
    assert response.headers["retry-after"].isdecimal()
    assert "secret" not in response.text
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["engine failed"]
    assert client.post("/segment", files={"file": png}).status_code == 200


def test_an_unexpected_error_is_a_500_without_details(
    serve: Callable[..., TestClient],
    check_problem: Check,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    png: bytes,
):
    def fail(*_: object) -> None:
        raise RuntimeError("secret at /srv/weights")

    client = serve()
    with monkeypatch.context() as broken:
        broken.setattr(pipeline, "to_file", fail)
        response = client.post("/segment", files={"file": png}, headers={"X-Request-ID": "failed-one"})
    check_problem(response, 500)
    assert "secret" not in response.text
    unexpected = [record for record in caplog.records if record.message == "unexpected error"]
    assert [vars(record)["fields"] for record in unexpected] == [{"request_id": "failed-one"}]
    assert client.post("/segment", files={"file": png}).status_code == 200


def test_requests_at_once_get_each_their_own_mask(
    client: TestClient, segmenter: Segmenter, make_image: MakeImage, to_file: ToFile, read_png: ReadPng
):
    images = [make_image(40 + 30 * (seed % 4), 60, seed=seed) for seed in range(12)]
    start = threading.Barrier(4)

    def send(image: Pixels) -> Pixels:
        start.wait(60)
        return read_png(client.post("/segment?output=probability", files={"file": to_file(image)}))

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, images))
    for image, answer in zip(images, answers, strict=True):
        expected = np.rint(segmenter.probabilities(image)[0] * 65535)
        assert answer.shape == expected.shape
        assert np.abs(answer - expected).max() <= 1  # other company in the batch, another order of sums


def test_each_request_is_one_line_in_the_log(client: TestClient, caplog: pytest.LogCaptureFixture, png: bytes):
    caplog.set_level("INFO", "app.access")
    client.post("/segment?threshold=0.3", files={"file": png}, headers={"X-Request-ID": "logged"})
    client.get("/nowhere")
    client.get("/healthz")
    lines = [vars(record)["fields"] for record in caplog.records if record.name == "app.access"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/segment", 200),
        ("GET", "/nowhere", 404),
    ]
    assert lines[0]["request_id"] == "logged"
    assert lines[0]["ms"] > 0
    json.dumps(lines)
