import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from model.convert import TUTORIAL_THRESHOLD, main
from model.images.decoding import decode_image
from model.segmenter import Segmenter
from model.unet import UNet
from model.weights_file import load_weights
from tests.support import forked

TUTORIAL = {"upsampling": "bilinear_aligned", "conv_bias": True}
BILINEAR = {"upsampling": "bilinear_aligned", "halve_middle": True}
TRANSPOSED = {"upsampling": "transposed", "bottleneck": "double"}


def converted(state: dict[str, Tensor], tmp_path: Path) -> Segmenter:
    """The segmenter of a foreign state dict: saved, converted, loaded."""
    torch.save(state, tmp_path / "foreign.pth")
    assert main([str(tmp_path / "foreign.pth"), str(tmp_path / "ours.safetensors")]) == 0
    return Segmenter.load(tmp_path / "ours.safetensors", device="cpu", precision="fp32")


@torch.inference_mode()
def tutorial_mask(net: UNet, image: np.ndarray) -> np.ndarray:
    """The tutorial's own steps: grey values as they are, in one piece, 255 where the logit is at least 0.5."""
    pixels = torch.from_numpy(image.reshape(1, 1, *image.shape)).to(dtype=torch.float32)
    logits: np.ndarray = net.eval()(pixels)[0][0].numpy()
    logits[logits >= 0.5] = 255
    logits[logits < 0.5] = 0
    return logits


def failing(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a conversion that fails."""
    assert main([str(argument) for argument in arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    [line] = output.err.splitlines()
    assert line.startswith("convert: ")
    return line


@pytest.mark.parametrize(("width", "side", "seed"), [(8, 512, 1), (8, 512, 2), (16, 256, 3), (64, 128, 4)])
def test_the_mask_is_the_tutorials_to_the_last_pixel(make_net, make_image, tmp_path, width, side, seed):
    net = make_net(seed, full_scale=255, width=width, **TUTORIAL)
    image = make_image(side, side, seed=seed)
    expected = tutorial_mask(net, image)
    assert 0.02 < (expected == 255).mean() < 0.98
    assert np.array_equal(converted(net.state_dict(), tmp_path).mask(image), expected)


@pytest.mark.parametrize("size", [(16, 16), (100, 75), (511, 333)])
def test_the_mask_is_the_tutorials_at_other_sizes_too(make_net, make_image, tmp_path, size):
    net, image = make_net(full_scale=255, width=8, **TUTORIAL), make_image(*size)
    assert np.array_equal(converted(net.state_dict(), tmp_path).mask(image), tutorial_mask(net, image))


def test_the_tutorials_threshold_is_its_logit_as_a_probability():
    logits = torch.tensor([0.4999, 0.5, 0.5001])
    assert (logits.sigmoid().numpy() >= np.float32(TUTORIAL_THRESHOLD)).tolist() == [False, True, True]


@pytest.mark.parametrize("kind", [BILINEAR, TRANSPOSED])
@pytest.mark.parametrize(("in_channels", "classes"), [(3, 2), (3, 1), (1, 5), (4, 3)])
@torch.inference_mode()
def test_a_pytorch_unet_gives_its_own_probabilities(make_net, make_image, tmp_path, kind, in_channels, classes):
    net = make_net(in_channels=in_channels, classes=classes, **kind)
    image = make_image(64, 80, in_channels)
    logits = net(torch.from_numpy(np.float32(image.transpose(2, 0, 1)) / np.float32(255))[None])
    expected = (logits.sigmoid() if classes == 1 else logits.softmax(dim=1))[0].numpy()
    segmenter = converted(net.state_dict(), tmp_path)
    assert np.abs(segmenter.probabilities(image) - expected).max() < 1e-5
    mask = expected.argmax(axis=0) if classes > 1 else 255 * (expected[0] >= 0.5)
    assert (segmenter.mask(image) == mask).mean() > 0.999


@pytest.mark.parametrize(
    ("settings", "scaling", "threshold"),
    [
        (TUTORIAL, "raw", TUTORIAL_THRESHOLD),
        (BILINEAR | {"in_channels": 3, "classes": 2}, "unit", 0.5),
        (TRANSPOSED | {"in_channels": 3, "classes": 7}, "unit", 0.5),
        (TRANSPOSED | {"in_channels": 1}, "unit", 0.5),
        (TRANSPOSED | {"in_channels": 1, "conv_bias": True}, "unit", 0.5),
        (TRANSPOSED | {"in_channels": 6, "depth": 3}, "unit", 0.5),
        (TUTORIAL | {"in_channels": 3, "width": 6}, "raw", TUTORIAL_THRESHOLD),
    ],
)
def test_everything_is_read_off_the_tensors(make_net, tmp_path, settings, scaling, threshold):
    net = make_net(**settings)
    description = converted(net.state_dict(), tmp_path).description
    assert description.architecture == net.config
    assert description.preprocessing.scaling == scaling
    assert description.preprocessing.normalisation == "none"
    assert description.preprocessing.channels == {1: "grey", 3: "rgb"}.get(net.config.in_channels, "stored")
    assert description.threshold == threshold
    assert list(description.labels) == ([0, 255] if net.config.classes == 1 else list(range(net.config.classes)))
    assert description.provenance == {"converted_from": "foreign.pth"}
    assert description.name == "ours"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state | {"mask_values": [0, 128, 255]},
        lambda state: state | {"mask_values": [[0, 0, 0], [255, 0, 0]]},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": state, "epoch": 7},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
    ],
    ids=["mask values", "colour mask values", "data parallel", "checkpoint", "data parallel checkpoint"],
)
def test_wrappers_around_the_tensors_are_removed(make_net, tmp_path, wrap):
    state = make_net(**TRANSPOSED).state_dict()
    converted(wrap(dict(state)), tmp_path)
    tensors = load_weights(tmp_path / "ours.safetensors").tensors
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in state.items())


def test_the_old_pickle_format_is_read_too(make_net, tmp_path):
    torch.save(make_net(**TUTORIAL).state_dict(), tmp_path / "in.pth", _use_new_zipfile_serialization=False)
    assert main([str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors")]) == 0
    assert load_weights(tmp_path / "out.safetensors").description.unet.conv_bias


def test_name_and_threshold_may_be_given(make_net, tmp_path):
    torch.save(make_net(**TUTORIAL).state_dict(), tmp_path / "in.pth")
    target = tmp_path / "out.safetensors"
    assert main([str(tmp_path / "in.pth"), str(target), "--name", "Cells-2", "--threshold", "0.25"]) == 0
    description = load_weights(target).description
    assert (description.name, description.threshold) == ("Cells-2", 0.25)


@pytest.mark.parametrize(
    ("option", "value", "said"), [("--threshold", "7", "threshold 7.0: "), ("--name", "a b", "name 'a b': ")]
)
def test_a_bad_option_is_named_with_its_value(make_net, tmp_path, capsys, option, value, said):
    torch.save(make_net(**TUTORIAL).state_dict(), tmp_path / "in.pth")
    assert said in failing(capsys, tmp_path / "in.pth", tmp_path / "out.safetensors", option, value)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_target_that_cannot_be_written_is_said_to_be_so(make_net, tmp_path, capsys):
    torch.save(make_net(**TUTORIAL).state_dict(), tmp_path / "in.pth")
    (tmp_path / "file").touch()
    assert "file" in failing(capsys, tmp_path / "in.pth", tmp_path / "file" / "out.safetensors")


def test_the_command_says_in_one_line_what_it_found(make_net, tmp_path):
    torch.save(make_net(width=16, in_channels=3, classes=2, **TRANSPOSED).state_dict(), tmp_path / "in.pth")
    done = forked.run("model.convert", tmp_path / "in.pth", tmp_path / "out.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    assert "3 channels in, 2 classes, width 16, depth 4, transposed" in line
    assert load_weights(tmp_path / "out.safetensors").description.name == "out"


class Malicious:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False, None])
def test_a_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path, capsys, zipped):
    source, target, victim = tmp_path / "in.pth", tmp_path / "out.safetensors", tmp_path / "victim"
    if zipped is None:
        source.write_bytes(pickle.dumps(Malicious(victim)))
    else:
        torch.save({"inc.double_conv.0.weight": Malicious(victim)}, source, _use_new_zipfile_serialization=zipped)
    assert failing(capsys, source, target).startswith(f"convert: {source}: not a state dict")
    assert not victim.exists()
    assert not target.exists()
    pickle.loads(pickle.dumps(Malicious(victim)))  # noqa: S301 - to see that it would have
    assert victim.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"{}",
        b"PK\3\4",
        bytes(300),
        b"\x80\x02.",
        b"\x80\x02}.",
        b"\x80\x90abc",
        b"\x80\x02K",
        b"\x80\x02(lp0\n.",
    ],
)
def test_bytes_that_are_not_a_state_dict_are_refused(tmp_path, capsys, content):
    (tmp_path / "in.pth").write_bytes(content)
    assert "state dict" in failing(capsys, tmp_path / "in.pth", tmp_path / "out.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_fails_in_one_line_or_is_read(make_net, tmp_path, capsys, zipped):
    path = tmp_path / "in.pth"
    torch.save(make_net(depth=1, width=1).state_dict(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    codes = set()
    for count in range(150):
        damaged = bytearray(whole[: random.integers(len(whole))] if count % 5 == 0 else whole)
        for place in random.integers(0, max(1, min(len(damaged), 3000)), 4).tolist():
            damaged[place : place + 1] = bytes([random.integers(256)])
        path.write_bytes(damaged)
        codes.add(main([str(path), str(tmp_path / "out.safetensors")]))
        assert len(capsys.readouterr().err.splitlines()) <= 1
    assert codes <= {0, 2}
    assert 2 in codes


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_said_to_be_no_state_dict(make_net, tmp_path, capsys, part):
    path = tmp_path / "in.pth"
    torch.save(make_net(**TUTORIAL).state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert "not a state dict" in failing(capsys, path, tmp_path / "out.safetensors")


def test_a_missing_file_and_a_folder_are_said_to_be_no_file(tmp_path, capsys):
    for source in (tmp_path / "none.pth", tmp_path):
        assert failing(capsys, source, tmp_path / "out.safetensors") == f"convert: {source}: no such file"


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "text", 7])
def test_a_file_that_holds_something_else_is_said_to_hold_it(tmp_path, capsys, content):
    torch.save(content, tmp_path / "in.pth")
    line = failing(capsys, tmp_path / "in.pth", tmp_path / "out.safetensors")
    assert f"holds a {type(content).__name__}, not a state dict" in line


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"a": torch.zeros(1), "b": 2}])
def test_a_dict_of_other_things_is_said_to_be_no_state_dict(tmp_path, capsys, content):
    torch.save(content, tmp_path / "in.pth")
    assert "not a state dict" in failing(capsys, tmp_path / "in.pth", tmp_path / "out.safetensors")


def test_a_whole_pickled_net_is_refused(make_net, tmp_path, capsys):
    torch.save(make_net(), tmp_path / "in.pth")
    assert "more than tensors" in failing(capsys, tmp_path / "in.pth", tmp_path / "out.safetensors")


def test_torchscript_is_refused(tmp_path, capsys):
    torch.jit.script(torch.nn.Conv2d(1, 4, 3)).save(str(tmp_path / "in.pth"))
    assert "not a state dict" in failing(capsys, tmp_path / "in.pth", tmp_path / "out.safetensors")


def other_nets() -> dict[str, dict[str, Tensor]]:
    linear = torch.nn.Linear(3, 2).state_dict()
    odd = torch.zeros(2, 1, 3, 3)
    return {
        "a linear layer": linear,
        "a name of ours, another shape": {"inc.double_conv.0.weight": torch.zeros(3)},
        "one block of ours": {"inc.double_conv.0.weight": odd, "down1.maxpool_conv.1.double_conv.0.weight": odd},
        "a scalar": {"inc.double_conv.0.weight": torch.tensor(1.0)},
    }


@pytest.mark.parametrize("name", other_nets())
def test_the_weights_of_another_net_are_refused(tmp_path, capsys, name):
    torch.save(other_nets()[name], tmp_path / "in.pth")
    line = failing(capsys, tmp_path / "in.pth", tmp_path / "out.safetensors")
    assert "the tutorial's, or Pytorch-UNet's" in line
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state | {"attention.weight": torch.zeros(1)},
        lambda state: {name: tensor for name, tensor in state.items() if name != "up3.conv.double_conv.1.bias"},
        lambda state: state | {"up4.conv.double_conv.3.weight": torch.zeros(4, 4, 5, 5)},
    ],
    ids=["one more", "one less", "another shape"],
)
def test_a_net_that_is_almost_ours_is_refused(make_net, tmp_path, capsys, change):
    torch.save(change(dict(make_net(**TUTORIAL).state_dict())), tmp_path / "in.pth")
    assert "do not fit" in failing(capsys, tmp_path / "in.pth", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_weights_that_are_not_finite_are_refused(make_net, tmp_path, capsys):
    state = make_net(**TUTORIAL).state_dict()
    state["outc.conv.bias"][0] = float("nan")
    torch.save(state, tmp_path / "in.pth")
    assert "not finite" in failing(capsys, tmp_path / "in.pth", tmp_path / "out.safetensors")


@pytest.mark.parametrize("name", ["ours.safetensors", "ours.pth"])
def test_weights_that_describe_themselves_are_not_described_anew(make_net, tmp_path, capsys, name):
    """Torch reads them as it reads a state dict."""
    torch.save(make_net(**TUTORIAL).state_dict(), tmp_path / "in.pth")
    assert main([str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors")]) == 0
    (tmp_path / "out.safetensors").rename(tmp_path / name)
    capsys.readouterr()
    assert "weights of this service already" in failing(capsys, tmp_path / name, tmp_path / "again.safetensors")


def test_the_original_is_never_written_to(make_net, tmp_path, capsys):
    source = tmp_path / "in.pth"
    torch.save(make_net(**TUTORIAL).state_dict(), source)
    before = source.read_bytes()
    assert "must end in .safetensors" in failing(capsys, source, source)
    assert source.read_bytes() == before


def test_the_command_fails_with_one_line_and_exit_code_2(tmp_path):
    (tmp_path / "in.pth").write_bytes(b"\x80\x90 a pickle of a protocol yet to come")
    done = forked.run("model.convert", tmp_path / "in.pth", tmp_path / "out.safetensors")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"convert: {tmp_path / 'in.pth'}: ")


def test_a_missing_argument_shows_the_usage_and_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["only-one.pth"])
    assert stop.value.code == 2
    assert "usage: python -m model.convert" in capsys.readouterr().err


def test_an_image_read_from_a_file_is_segmented_as_the_tutorial_does(make_net, make_image, tmp_path):
    """The whole way with the tutorial's own reading of the file (grey by OpenCV)."""
    net = make_net(seed=5, full_scale=255, width=8, **TUTORIAL)
    cv2.imwrite(str(tmp_path / "0.png"), make_image(128, 160))
    colour = cv2.imread(str(tmp_path / "0.png"))
    assert colour is not None
    expected = tutorial_mask(net, cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY))
    image = decode_image((tmp_path / "0.png").read_bytes())
    assert np.array_equal(converted(net.state_dict(), tmp_path).mask(image), expected)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict"])
def test_a_state_dict_kept_beside_other_things_is_found(make_net, tmp_path, key):
    net = make_net(**TUTORIAL)
    torch.save({"epoch": 3, key: net.state_dict()}, tmp_path / "in.pth")
    assert main([str(tmp_path / "in.pth"), str(tmp_path / "my net.safetensors")]) == 0
    weights = load_weights(tmp_path / "my net.safetensors")
    assert weights.description.name == "my-net"
    assert torch.equal(weights.tensors["outc.conv.weight"], net.state_dict()["outc.conv.weight"])


def test_weights_from_before_batches_were_counted_are_taken(make_net, tmp_path):
    state = {name: value for name, value in make_net(**TUTORIAL).state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "in.pth")
    assert main([str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors")]) == 0
    assert load_weights(tmp_path / "out.safetensors").tensors["inc.double_conv.1.num_batches_tracked"] == 0
