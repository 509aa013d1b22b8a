import hashlib
import json
import re
import resource
import shutil
import signal
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import save_file

from model.engines.graph_weights import load_any
from model.inputs.preprocessing import Preprocessing
from model.unet import UNetConfig
from model.weights_file import (
    BUNDLED_INT8,
    Description,
    Weights,
    WeightsError,
    load_weights,
    read_is_unfinished,
    save_weights,
)

KEY = "inc.double_conv.0.weight"


def one_line(error: pytest.ExceptionInfo[WeightsError], path) -> str:
    """The message, after checking that it is one line which names the file."""
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"weights {path}: ")
    return message


def reading_fails(path) -> str:
    with pytest.raises(WeightsError) as error:
        load_any(path)
    return one_line(error, path)


def rewrite(path, tensors=None, beside=None, **fields: object) -> None:
    """The same file with some tensors or some fields of its description replaced, or other metadata beside it."""
    with safe_open(path, framework="pt") as file:
        kept = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
        description = json.loads(file.metadata()["description"]) | fields
        description = {key: value for key, value in description.items() if value is not None}
    save_file(kept | (tensors or {}), path, metadata={"description": json.dumps(description)} | (beside or {}))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"in_channels": 3, "classes": 5, "upsampling": "transposed", "bottleneck": "double"},
        {"width": 8, "depth": 2, "upsampling": "bilinear_aligned", "conv_bias": True, "halve_middle": True},
        {"downsampling": 4},
    ],
)
def test_saved_weights_load_unchanged(make_net, describe, tmp_path, settings):
    net = make_net(**settings)
    description = describe(
        net, threshold=0.3, labels={0: "sky", 1: "sea"}, provenance={"steps": 3, "scores": [0.5, None]}
    )
    save_weights(tmp_path / "net.safetensors", net.state_dict(), description)
    weights = load_weights(tmp_path / "net.safetensors")
    assert weights.description == description
    assert weights.tensors.keys() == net.state_dict().keys()
    assert all(torch.equal(weights.tensors[name], tensor) for name, tensor in net.state_dict().items())


@torch.inference_mode()
def test_the_built_net_computes_what_the_saved_one_did(make_net, describe, tmp_path):
    net, x = make_net(), torch.rand(1, 1, 32, 32)
    save_weights(tmp_path / "net.safetensors", net.state_dict(), describe(net))
    built = load_weights(tmp_path / "net.safetensors").build_net()
    assert not built.training
    assert torch.equal(built(x), net(x))


def test_the_sha256_is_the_files_and_the_label_shows_its_beginning(weights_path):
    weights = load_weights(weights_path)
    assert weights.sha256 == hashlib.sha256(weights_path.read_bytes()).hexdigest()
    assert weights.label == f"a-net@{weights.sha256[:12]}"


def test_any_reader_of_safetensors_finds_the_description_as_json(weights_path):
    with safe_open(weights_path, framework="np") as file:
        metadata = json.loads(file.metadata()["description"])
        assert file.get_tensor(KEY).dtype == np.float32
    assert metadata["format_version"] == 1
    assert metadata["architecture"]["width"] == 4
    assert metadata["preprocessing"] == {"channels": "grey", "scaling": "unit", "normalisation": "none"}
    assert metadata["threshold"] == 0.4
    assert metadata["labels"] == {"0": "background", "255": "foreground"}


def test_half_precision_weights_are_accepted_and_built_in_float32(make_net, describe, tmp_path):
    net = make_net()
    half = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    save_weights(tmp_path / "half", half, describe(net))
    built = load_weights(tmp_path / "half").build_net()
    assert {parameter.dtype for parameter in built.parameters()} == {torch.float32}


def test_metadata_of_other_programs_is_passed_over(weights_path):
    before = load_weights(weights_path).description
    rewrite(weights_path, beside={"format": "pt", "author": "somebody"})
    assert load_weights(weights_path).description == before


def test_shared_or_transposed_tensors_are_saved_as_separate_copies(make_net, describe, tmp_path):
    net = make_net()
    state, shared = net.state_dict(), torch.arange(1.0, 7.0)
    state["inc.double_conv.1.running_var"], state["inc.double_conv.4.running_var"] = shared[:4], shared[2:]
    state["inc.double_conv.3.weight"] = state["inc.double_conv.3.weight"].to(memory_format=torch.channels_last)
    save_weights(tmp_path / "net", state, describe(net))
    loaded = load_weights(tmp_path / "net").tensors
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_a_written_file_is_world_readable_without_leftovers(weights_path):
    assert stat.S_IMODE(weights_path.stat().st_mode) & 0o444 == 0o444
    assert [path.name for path in weights_path.parent.iterdir()] == [weights_path.name]


def test_saving_makes_the_folder_and_replaces_the_old_file(make_net, describe, tmp_path):
    path = tmp_path / "new" / "folder" / "net.safetensors"
    for seed in (1, 2):
        net = make_net(seed)
        save_weights(path, net.state_dict(), describe(net))
    assert torch.equal(load_weights(path).tensors[KEY], net.state_dict()[KEY])


@contextmanager
def _small_disk() -> Iterator[None]:
    """No file of this process grows past 20,000 bytes, as if the disk were full.

    For no longer than it must: what pytest writes to may be a file, too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_is_an_os_error_and_leaves_the_old_file(make_net, describe, tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"the old one")
    net = make_net(width=8)
    with pytest.raises(OSError, match="too large"), _small_disk():
        save_weights(path, net.state_dict(), describe(net))
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_files_place_is_an_os_error_and_stays(make_net, describe, tmp_path):
    net = make_net()
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        save_weights(tmp_path / "taken", net.state_dict(), describe(net))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.fixture
def packed(weights_path, tmp_path):
    """`packed(data of the weights file, name=...)`: a package with other files beside it."""

    def write(data=None, name="weights.safetensors", compression=zipfile.ZIP_STORED):
        path = tmp_path / "net.zip"
        with zipfile.ZipFile(path, "w", compression) as package:
            package.writestr("rdf.yaml", "name: a net")
            package.writestr("bomb.npy", bytes(30_000_000), zipfile.ZIP_DEFLATED)
            package.writestr(name, weights_path.read_bytes() if data is None else data)
        return path

    return write


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_package_holds_the_weights_file_as_it_is(packed, weights_path, compression):
    packed, plain = load_weights(packed(compression=compression)), load_weights(weights_path)
    assert (packed.description, packed.sha256) == (plain.description, plain.sha256)
    assert all(torch.equal(packed.tensors[name], tensor) for name, tensor in plain.tensors.items())


def test_nothing_is_unpacked_to_disk(packed, tmp_path):
    path = packed()
    before = sorted(tmp_path.rglob("*"))
    load_weights(path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["weights.pt", "folder/weights.safetensors", "../weights.safetensors"])
def test_a_package_of_others_is_said_to_be_one(packed, name):
    assert reading_fails(packed(name=name)).endswith("format_version: none; accepted: 0.4 and 0.5")


def test_a_pickle_named_like_a_package_is_refused(make_net, tmp_path):
    torch.save(make_net().state_dict(), tmp_path / "net.zip")
    assert "a package without weights.safetensors" in reading_fails(tmp_path / "net.zip")


def test_weights_that_would_grow_beyond_measure_are_not_unpacked(packed):
    bomb = packed(bytes(200_000_000), compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    message = reading_fails(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "would grow to more than weights can" in message
    assert peak < 1_000_000


def test_weights_that_are_larger_than_they_say_are_broken(packed):
    path = packed(bytes(30_000_000), compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02") + 24  # the size in the directory's last entry
    path.write_bytes(data[:at] + (1000).to_bytes(4, "little") + data[at + 4 :])
    assert "not a package" in reading_fails(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_packages_do_not_use_is_refused(packed, compression):
    assert "not a package" in reading_fails(packed(compression=compression))


def test_an_encrypted_package_is_refused(packed):
    path = packed()
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "not a package" in reading_fails(path)


@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_package_is_said_to_be_broken(packed, part):
    path = packed()
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert "broken or truncated" in reading_fails(path)


def test_broken_weights_in_a_package_are_said_to_be_broken(packed, weights_path):
    assert "broken or truncated" in reading_fails(packed(weights_path.read_bytes()[:-1]))


def test_a_package_that_is_not_there_or_a_folder_is_said_to_be(tmp_path):
    assert reading_fails(tmp_path / "none.zip").endswith("no such file")
    (tmp_path / "folder.zip").mkdir()
    assert "cannot be read" in reading_fails(tmp_path / "folder.zip")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    assert reading_fails(tmp_path / "none.safetensors").endswith("no such file")


def test_a_folder_is_not_a_weights_file(tmp_path):
    assert reading_fails(tmp_path)


@pytest.mark.parametrize("part", [0, 0.0001, 0.005, 0.02, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_said_to_be_broken(weights_path, part):
    data = weights_path.read_bytes()
    weights_path.write_bytes(data[: int(len(data) * part)])
    assert "broken or truncated" in reading_fails(weights_path)


def test_a_file_with_one_missing_byte_is_refused(weights_path):
    weights_path.write_bytes(weights_path.read_bytes()[:-1])
    assert "broken or truncated" in reading_fails(weights_path)


@pytest.mark.parametrize("content", [b"hello", b"\0" * 100, b"\xff" * 100, (10**9).to_bytes(8, "little") + b"{"])
def test_other_bytes_are_said_to_be_no_safetensors_file(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert "not a safetensors file" in reading_fails(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_known_as_one_and_the_way_out_is_named(make_net, tmp_path, zipped):
    path = tmp_path / "x.safetensors"
    torch.save(make_net().state_dict(), path, _use_new_zipfile_serialization=zipped)
    message = reading_fails(path)
    assert "pickle" in message
    assert "python -m model.convert" in message


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_without_a_description_name_the_way_out(make_net, tmp_path, metadata):
    path = tmp_path / "x.safetensors"
    save_file(make_net().state_dict(), path, metadata=metadata)
    message = reading_fails(path)
    assert "without a description" in message
    assert "python -m model.convert" in message


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("format_version", 2, "format_version: Input should be 1"),
        ("format_version", "1", "format_version: Input should be 1"),
        ("architecture", None, "architecture: Field required"),
        ("architecture", 7, "architecture: Input should be"),
        ("architecture", {"width": 0}, "architecture.width: "),
        ("architecture", {"colour": True}, "architecture.colour: "),
        ("preprocessing", {"channels": "rgb"}, "gives 3 channels, the net takes 1"),
        ("preprocessing", None, "preprocessing: Field required"),
        ("threshold", 7, "threshold: "),
        ("threshold", 0, "threshold: "),
        ("threshold", float("nan"), "threshold: "),
        ("labels", {"sky": "blue"}, "labels.sky"),
        ("name", "../etc", "name: "),
        ("name", "a\nb", "name: "),
        ("colour", "blue", "colour: "),
    ],
)
def test_a_bad_description_is_said_to_be_bad_by_its_field(weights_path, key, value, complaint):
    rewrite(weights_path, **{key: value})
    assert complaint in reading_fails(weights_path)


@pytest.mark.parametrize("text", ["", "{", "no JSON", "[" * 100_000])
def test_a_description_that_is_not_json_is_refused(weights_path, text):
    rewrite(weights_path, beside={"description": text})
    assert "description: Invalid JSON" in reading_fails(weights_path)


@pytest.mark.parametrize(
    ("provenance", "unfinished"),
    [({"reached": {"finished": False}}, True), ({"reached": {"step": 5}}, False), ({"reached": 7}, False), ({}, False)],
)
def test_the_header_says_that_a_training_has_not_ended(weights_path, provenance, unfinished):
    rewrite(weights_path, provenance=provenance)
    assert read_is_unfinished(weights_path) == load_weights(weights_path).description.is_unfinished == unfinished


def test_a_file_that_cannot_be_read_is_of_no_unfinished_training(weights_path, tmp_path):
    weights_path.write_bytes(weights_path.read_bytes()[:-1])
    assert not any(read_is_unfinished(path) for path in (weights_path, tmp_path, tmp_path / "missing.safetensors"))


def test_the_same_weights_are_the_same_file(make_net, describe, tmp_path):
    net = make_net()
    for name in ("one", "other"):
        save_weights(tmp_path / name, net.state_dict(), describe(net))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        (KEY, torch.zeros(4, 2, 3, 3)),
        (KEY, torch.zeros(4)),
        ("outc.conv.bias", torch.zeros(2)),
        ("an.extra.tensor", torch.zeros(1)),
        ("outc.conv.bias", torch.zeros(1, dtype=torch.int64)),
        ("outc.conv.bias", torch.zeros(1, dtype=torch.bool)),
        ("outc.conv.bias", torch.zeros(1, dtype=torch.complex64)),
    ],
)
def test_tensors_that_do_not_fit_are_named(weights_path, name, tensor):
    rewrite(weights_path, {name: tensor})
    assert reading_fails(weights_path).endswith(f"tensors do not fit the described net, 1 of them, first {name}")


def test_a_description_of_another_net_is_found_out(weights_path):
    rewrite(weights_path, architecture={"width": 8})
    assert "tensors do not fit the described net" in reading_fails(weights_path)


def test_a_missing_tensor_is_named(make_net, describe, tmp_path):
    net = make_net()
    state = net.state_dict()
    del state["up2.conv.double_conv.4.running_var"]
    save_weights(tmp_path / "net", state, describe(net))
    assert "1 of them, first up2.conv.double_conv.4.running_var" in reading_fails(tmp_path / "net")


def test_a_description_that_claims_a_giant_net_costs_nothing(weights_path):
    rewrite(weights_path, architecture={"width": 1024, "depth": 8})
    assert "tensors do not fit" in reading_fails(weights_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_that_are_not_finite_are_named(weights_path, value, dtype):
    tensor = torch.zeros(4, 1, 3, 3, dtype=dtype)
    tensor[2, 0, 1, 1] = value
    rewrite(weights_path, {KEY: tensor})
    assert reading_fails(weights_path).endswith(f"{KEY} holds values that are not finite")


def test_8_bit_floats_are_checked_too(weights_path):
    rewrite(weights_path, {"outc.conv.bias": torch.tensor([float("nan")]).to(torch.float8_e4m3fn)})
    assert reading_fails(weights_path).endswith("outc.conv.bias holds values that are not finite")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_of_a_graph_are_checked_too(tmp_path, value):
    pytest.importorskip("openvino")
    xml = Path(shutil.copy(BUNDLED_INT8, tmp_path))
    [offset] = re.findall(r'element_type="f32" shape="32, 1, 1, 1" offset="(\d+)"', xml.read_text())[:1]
    data = bytearray(BUNDLED_INT8.with_suffix(".bin").read_bytes())
    struct.pack_into("<f", data, int(offset), value)
    xml.with_suffix(".bin").write_bytes(data)
    assert reading_fails(xml).endswith(" holds values that are not finite")


def test_a_loaded_file_may_be_overwritten_or_removed(weights_path, make_net, describe):
    weights = load_weights(weights_path)
    before = weights.tensors[KEY].clone()
    other = make_net(seed=9)
    save_weights(weights_path, other.state_dict(), describe(other))
    shutil.rmtree(weights_path.parent)
    assert torch.equal(weights.tensors[KEY], before)


@pytest.mark.parametrize(("channels", "taken"), [("grey", 3), ("rgb", 1), ("rgb", 4)])
def test_a_description_with_a_wrong_channel_count_is_refused(channels, taken):
    with pytest.raises(ValidationError, match=f"the net takes {taken}"):
        Description(
            name="x", architecture=UNetConfig(in_channels=taken), preprocessing=Preprocessing(channels=channels)
        )


@pytest.mark.parametrize("name", ["", "a b", "-a", ".a", "a/b", "a\n", "ä", "a" * 65])
def test_a_name_that_is_not_fit_for_a_header_is_refused(name):
    with pytest.raises(ValidationError, match="name"):
        Description(name=name, architecture=UNetConfig(), preprocessing=Preprocessing())


@pytest.mark.parametrize("name", ["a", "em-membranes", "UNet_v1.2", "7", "a" * 64])
def test_a_plain_name_is_accepted(name):
    assert Description(name=name, architecture=UNetConfig(), preprocessing=Preprocessing()).name == name


def test_weights_can_be_made_without_a_file(make_net, describe):
    net = make_net()
    weights = Weights(describe(net), "ab" * 32, net.state_dict())
    assert weights.label == "a-net@abababababab"
    assert torch.equal(weights.build_net().state_dict()[KEY], net.state_dict()[KEY])


def test_description_from_before_seeds_still_counts_regions(make_net, describe):
    old = json.loads(describe(make_net()).model_dump_json(exclude={"objects", "seed_depth", "min_area"}))
    assert Description.model_validate(old).objects == "regions"


@pytest.mark.parametrize(
    ("net", "fields", "expected"),
    [
        ({}, {"objects": "seeds"}, "needs a seed_depth"),
        ({}, {"objects": "regions", "seed_depth": 0.9}, "takes no seed_depth"),
        ({}, {"objects": "seeds", "seed_depth": 0}, "greater than 0"),
        ({"classes": 3}, {"objects": "seeds", "seed_depth": 0.9}, "is for one class"),
        ({"classes": 3}, {"objects": "interiors"}, "is for one class"),
    ],
)
def test_seed_depth_goes_with_seeds_of_one_class(make_net, describe, net, fields, expected):
    with pytest.raises(ValidationError, match=expected):
        describe(make_net(**net), **fields)


def test_rule_of_objects_is_saved_and_loaded(make_net, describe, tmp_path):
    net = make_net()
    description = describe(net, objects="seeds", seed_depth=0.8, min_area=12)
    save_weights(tmp_path / "w.safetensors", net.state_dict(), description)
    assert load_weights(tmp_path / "w.safetensors").description == description
