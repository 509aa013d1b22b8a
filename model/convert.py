"""`python -m model.convert IN.pth OUT.safetensors`: brings in other people's U-Net weights.

Knows the tutorial's `best_model.pth` (convolutions with bias, pixels 0..255, logit >= 0.5) and the checkpoints of
today's Pytorch-UNet (no bias, bilinear with halved middle channels, or transposed; pixels 0..1). Which one it is,
and every size, is read off the tensors. The only place where pickles are read, and only as plain tensors
(`weights_only=True`).
"""

import argparse
import re
import sys
import warnings
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from model.errors import UserError
from model.inputs.preprocessing import Preprocessing
from model.unet import UNet, UNetConfig
from model.weights_file import Description, WeightsError, check_tensors, is_described, save_weights

# logit >= 0.5, as a probability: 1 / (1 + exp(-0.5))
TUTORIAL_THRESHOLD = 0.6224593312018546

# Under which people save a state dict beside other things.
WRAPPERS = ("state_dict", "model_state_dict", "net", "model")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code (0, or 2 after one line on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m model.convert", description="Bring in a U-Net's .pth weights.")
    parser.add_argument("source", metavar="IN.pth", type=Path)
    parser.add_argument("target", metavar="OUT.safetensors", type=Path)
    parser.add_argument(
        "--threshold", type=float, help="probability that counts as foreground; default: the original's"
    )
    parser.add_argument("--name", help="the name the weights are served under; default: the target's stem")
    arguments = parser.parse_args(argv)
    try:
        if arguments.target.suffix != ".safetensors":
            raise WeightsError(f"{arguments.target}: the name must end in .safetensors")
        state = read_state_dict(arguments.source)
        name = arguments.name or re.sub(r"[^A-Za-z0-9._-]+", "-", arguments.target.stem).strip("-._")
        description = describe(state, name or "unet", arguments.source.name)
        if arguments.threshold is not None:
            description = Description.model_validate(description.model_dump() | {"threshold": arguments.threshold})
        check_tensors(str(arguments.source), state, description.unet)
        save_weights(arguments.target, state, description)
    except (UserError, ValidationError, OSError) as error:
        print(f"convert: {_reason(error)}", file=sys.stderr)
        return 2
    config = description.unet
    parameters = sum(parameter.numel() for parameter in UNet(config).parameters())
    print(
        f"{arguments.target}: {config.in_channels} channels in, {config.classes} classes, width {config.width}, "
        f"depth {config.depth}, {config.upsampling}, {parameters:,} parameters, "
        f"pixels {description.preprocessing.scaling}, threshold {description.threshold:.4f}"
    )
    return 0


def _reason(error: ValueError | OSError) -> str:
    """One line: pydantic says more, but its first complaint is enough."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))} {first['input']!r}: {first['msg']}"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a `torch.save`d state dict, names as in `UNet`. Raises WeightsError."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    if is_described(path):  # torch reads such files, too, but without what they say of themselves
        raise WeightsError(f"{path}: weights of this service already; there is nothing to convert")
    try:
        with warnings.catch_warnings(action="ignore"):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # over bytes that are no pickle torch's reader raises nearly anything
        raise WeightsError(
            f"{path}: not a state dict saved by torch.save, or one that holds more than tensors"
        ) from error
    if isinstance(loaded, dict):
        loaded = next((loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), dict)), loaded)
    if not isinstance(loaded, dict):
        raise WeightsError(f"{path}: holds a {type(loaded).__name__}, not a state dict")
    # Pytorch-UNet keeps the labels' grey values beside the tensors; DataParallel prefixes every name.
    state = {str(name).removeprefix("module."): value for name, value in loaded.items() if name != "mask_values"}
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: not a state dict: it must hold tensors and nothing else")
    # torch before 0.4.1 did not count batches; nothing but training reads the count
    counts = {
        name.replace("running_var", "num_batches_tracked"): torch.tensor(0) for name in state if "running_var" in name
    }
    return counts | state


def describe(state: dict[str, Tensor], name: str, source: str) -> Description:
    """The description of a foreign state dict, everything read off its tensors. Raises WeightsError, ValueError."""
    config = infer_config(state)
    # early Pytorch-UNets have biases, too, but halve the middle or, with transposed upsampling, double the bottom
    tutorial = config.conv_bias and not config.halve_middle and config.bottleneck == "same"
    if config.classes == 1:
        labels = {0: "background", 255: "foreground"}
    else:
        labels = {index: f"class {index}" for index in range(config.classes)}
    return Description(
        name=name,
        architecture=config,
        preprocessing=Preprocessing(
            channels={1: "grey", 3: "rgb"}.get(config.in_channels, "stored"),
            scaling="raw" if tutorial else "unit",
        ),
        threshold=TUTORIAL_THRESHOLD if tutorial else 0.5,
        labels=labels,
        provenance={"converted_from": source},
    )


def infer_config(state: dict[str, Tensor]) -> UNetConfig:
    """The architecture of a state dict. Raises WeightsError if it is none of the known ones."""
    try:
        first = state["inc.double_conv.0.weight"]
        depth = sum(name.startswith("down") and name.endswith(".double_conv.0.weight") for name in state)
        deepest = state[f"down{depth}.maxpool_conv.1.double_conv.0.weight"]
        d_middle, d_joined = state["up1.conv.double_conv.0.weight"].shape[:2]
        d_out = state["up1.conv.double_conv.3.weight"].shape[0]
        config = UNetConfig(
            in_channels=first.shape[1],
            classes=state["outc.conv.weight"].shape[0],
            width=first.shape[0],
            depth=depth,
            upsampling="transposed" if "up1.up.weight" in state else "bilinear_aligned",
            bottleneck="double" if deepest.shape[0] == 2 * deepest.shape[1] else "same",
            conv_bias="inc.double_conv.0.bias" in state,
            halve_middle=d_middle != d_out and 2 * d_middle == d_joined,
        )
    except (KeyError, IndexError, ValueError) as error:
        raise WeightsError(
            "not the state dict of a U-Net that is known here (the tutorial's, or Pytorch-UNet's)"
        ) from error
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in UNet(config).state_dict().items()}
    if expected != {name: tensor.shape for name, tensor in state.items()}:
        raise WeightsError(
            "like the U-Nets known here (the tutorial's, Pytorch-UNet's), but its tensors do not fit either"
        )
    return config


if __name__ == "__main__":
    sys.exit(main())
