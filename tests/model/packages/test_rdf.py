import pytest
import yaml  # type: ignore[import-untyped]

from model.errors import UserError
from model.packages.rdf import Range, SizeReference, read_rdf
from tests.support.packages import describe, tensor_in, tensor_out


def _read(description):
    return read_rdf(yaml.safe_dump({"weights": {}} | description).encode())


def _fails(text):
    with pytest.raises(UserError) as caught:
        read_rdf(text)
    return str(caught.value)


def test_format_0_4_is_read_as_format_0_5():
    old = _read(describe())
    new = _read(
        describe(
            version="0.5.4",
            inputs=[
                {
                    "id": "input0",
                    "axes": [
                        {"type": "batch"},
                        {"type": "channel", "channel_names": ["grey"]},
                        {"type": "space", "id": "y", "size": {"min": 64, "step": 16}},
                        {"type": "space", "size": {"min": 64, "step": 16}},
                    ],
                    "data": {"type": "uint8", "range": [0, 255]},
                    "preprocessing": [
                        {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}},
                    ],
                }
            ],
            outputs=[{"id": "output0", "axes": [{"type": "batch"}]}],
        )
    )
    assert old.inputs[0].preprocessing == new.inputs[0].preprocessing
    assert [axis.name for axis in old.inputs[0].axes] == [axis.name for axis in new.inputs[0].axes]
    assert old.inputs[0].bounds == new.inputs[0].bounds == (0, 255)
    assert old.inputs[0].axes[2].size == new.inputs[0].axes[2].size == Range(min=64, step=16)


def test_sizes_of_format_0_4_refer_to_the_input():
    size = _read(describe(outputs=[tensor_out(2)])).outputs[0].axes[1].size
    assert size == SizeReference(tensor_id="input0", scale=2, offset=0)


@pytest.mark.parametrize(
    ("given", "kind", "arguments"),
    [
        (("zero_mean_unit_variance", "fixed"), "fixed_zero_mean_unit_variance", {"axis": "channel"}),
        (("zero_mean_unit_variance", "per_dataset"), "zero_mean_unit_variance", {"axes": ["x", "y", "batch"]}),
        (("scale_range", "per_sample"), "scale_range", {"axes": ["x", "y"]}),
    ],
)
def test_modes_of_format_0_4_become_axes(given, kind, arguments):
    name, mode = given
    step = {"name": name, "kwargs": {"axes": "xy", "mode": mode}}
    read = _read(describe(inputs=[tensor_in(preprocessing=[step])])).inputs[0].preprocessing[0]
    assert (read.id, read.arguments) == (kind, arguments)


@pytest.mark.parametrize("version", ["0.3.6", "0.6.0", "0.40.1"])
def test_other_formats_are_refused_by_their_version(version):
    assert _fails(f"format_version: {version}".encode()) == f"format_version: {version}; accepted: 0.4 and 0.5"


def test_aliases_that_multiply_are_refused():
    lines = ["a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    assert _fails("\n".join(lines).encode()) == "more than 20000 fields and values"


@pytest.mark.parametrize(
    "text", [b"[" * 10_000, b"a: *b", b"\x00", b"a: &a [*a]", b"!!python/object/apply:os.getcwd []"]
)
def test_what_is_no_plain_yaml_is_refused(text):
    assert _fails(text) == "not YAML, or too deeply nested"


def test_a_missing_field_is_named():
    assert _fails(yaml.safe_dump({**describe(), "weights": None}).encode()).startswith("weights: ")
    assert "shape" in _fails(yaml.safe_dump(describe(inputs=[{"name": "a", "axes": "bcyx"}])).encode())
