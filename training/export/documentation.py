"""The documentation of a package, composed from the metadata of the weights."""

from pydantic import JsonValue

from model.packages.package_zip import PACKAGED
from model.weights_file import Weights

CHANNELS = {"grey": "one grey channel", "rgb": "red, green and blue"}

SCALING = {
    "zscore": "each channel of each image less its mean, divided by its standard deviation",
    "unit": "values of 0 to 255, divided by 255",
    "raw": "values of 0 to 255, as they are",
}

# Of what the weights say of their origin.
TOLD = ("trained", "images", "seed", "commit", "torch", "converted_from")


def class_names(weights: Weights) -> list[str]:
    """One for each of the net's K channels: what its probability is that of."""
    labels, classes = weights.description.labels, weights.description.architecture.classes
    if classes == 1:
        return [labels.get(255, "foreground")]
    return [labels.get(index, f"class {index}") for index in range(classes)]


def summary(weights: Weights) -> str:
    """A sentence."""
    config = weights.description.unet
    names = class_names(weights)
    told = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return (
        f"U-Net of depth {config.depth} and width {config.width} for 2D images: the probability of {told}, per pixel."
    )


def markdown(weights: Weights, text: str, license_id: str) -> str:
    """The package's README."""
    description = weights.description
    config, preprocessing = description.unet, description.preprocessing
    scaling = SCALING["zscore" if preprocessing.normalisation == "zscore" else preprocessing.scaling]
    channels = CHANNELS.get(preprocessing.channels, f"{config.in_channels} channels, as they are stored")
    return f"""# {description.name}

{text}

| | |
|---|---|
| input | {channels}; height and width are multiples of {config.stride}, at least {config.stride} |
| preprocessing | {scaling} |
| output | probability of: {", ".join(class_names(weights))} |
| mask | {_mask(weights)} |
| weights | {weights.label} |
| licence | {license_id} |

The architecture (`unet.py`) is the U-Net of Ronneberger, Fischer and Brox (MICCAI 2015), padded so that the output is
as large as the input. {_scale(weights)}{_reach(weights)}

`{PACKAGED}` is the same net for unet-segmentation-service, which takes images of any size, in 8 or 16 bits:
`SEGMENT_WEIGHTS=package.zip python -m app`.

## Training

{_training(weights)}

## Validation

{_scores(weights)}

To validate it on your own images: `python -m training.evaluate --weights package.zip --data DIR`, with labelled images
in `DIR`, prints all scores that suit the labels, and the best threshold.
"""


def _scale(weights: Weights) -> str:
    """A sentence on the net's own resampling, or nothing."""
    side = weights.description.unet.downsampling
    if side == 1:
        return ""
    return (
        f"The net averages squares of {side} x {side} pixels before its first layer\n"
        "and upsamples its logits bilinearly to the size of the image, so it takes the image as it is.\n"
    )


def _reach(weights: Weights) -> str:
    """Sentences on the grid and the overlap that tiles need."""
    config = weights.description.unet
    if config.upsampling == "bilinear_aligned":
        return (
            "The output depends on where a pixel lies in the image, so tiles give another result than the whole image."
        )
    return (
        f"A pixel of the output depends on no more than {config.halo} pixels around it: tiles that start at multiples\n"
        f"of {config.stride} and overlap by as much on each side give what the whole image gives, if its own mean and\n"
        "standard deviation are used for all of them."
    )


def _mask(weights: Weights) -> str:
    if weights.description.architecture.classes > 1:
        return "the likeliest class"
    return f"{class_names(weights)[0]} from a probability of {weights.description.threshold:g} up"


def _training(weights: Weights) -> str:
    origin = weights.description.provenance
    told = [(name, origin[name]) for name in TOLD if name in origin]
    lines = [f"- {name.replace('_', ' ')}: {_plain(value)}" for name, value in told]
    return "\n".join(lines) or "The weights do not say how they were trained."


def _plain(value: JsonValue) -> str:
    return ", ".join(f"{count} {name}" for name, count in value.items()) if isinstance(value, dict) else str(value)


def _scores(weights: Weights) -> str:
    origin = weights.description.provenance
    reached, folds = (entry if isinstance(entry := origin.get(key), dict) else {} for key in ("reached", "folds"))
    scores = origin.get("calibrated") or reached.get("scores") or folds.get("scores")
    if not isinstance(scores, dict):
        return "The weights carry no scores."
    title = "Scores that the weights carry"
    if scores is folds.get("scores"):
        title += f"; each of {folds['images']} images was scored by weights that had not seen it"
    rows = [f"| {name} | {value:.4g} |" for name, value in scores.items() if isinstance(value, int | float)]
    return "\n".join([f"{title}:", "", "| score | value |", "|---|---|", *rows])
