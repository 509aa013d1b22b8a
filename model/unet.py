"""The U-Net of Ronneberger, Fischer and Brox (MICCAI 2015), padded so that its output is as large as its input.

Shape letters: N images, C input channels, K classes, H height, W width, D channels of a feature map.
"""

from typing import Any, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

Crop: TypeAlias = list[list[int]]
"""[first row, end row], [first column, end column]."""


class UNetConfig(BaseModel):
    """All that is needed to build a `UNet`; the defaults are the nets this project trains.

    `upsampling`: "bilinear" (half-pixel centres) and "transposed" give each pixel the same treatment wherever it lies;
    "bilinear_aligned" (aligned corners, as in the tutorial) makes the output depend on the position in the image.
    `bottleneck`: "double" doubles the channels at the deepest level, as the paper does (1024 at width 64); "same"
    keeps them (512).
    `halve_middle`: a decoder block's first convolution gives half its input's channels instead of the block's output
    channels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_channels: int = Field(1, ge=1, le=1024)
    classes: int = Field(1, ge=1, le=256)
    width: int = Field(32, ge=1, le=1024)
    depth: int = Field(4, ge=1, le=8)
    upsampling: Literal["bilinear", "bilinear_aligned", "transposed"] = "bilinear"
    bottleneck: Literal["same", "double"] = "same"
    conv_bias: bool = False
    halve_middle: bool = False

    @property
    def stride(self) -> int:
        """Pixels of the image, along a side, to a pixel of the deepest map."""
        return int(2**self.depth)

    @property
    def grid(self) -> int:
        """Images are padded to multiples of this many pixels, and tiles start at them.

        1 for aligned corners: there the original's own treatment of odd sizes is kept (padding inside the decoder).
        """
        return 1 if self.upsampling == "bilinear_aligned" else self.stride

    @property
    def halo(self) -> int:
        """Pixels next to a cut edge whose output the cut may change, rounded up to the grid: the overlap tiles need.

        Counted layer by layer: each 3 x 3 convolution spoils one more pixel, pooling halves, upsampling doubles (and
        bilinear interpolation looks one pixel further).
        """
        spoiled = 2
        for _ in range(self.depth):
            spoiled = (spoiled + 1) // 2 + 2
        for _ in range(self.depth):
            spoiled = 2 * spoiled + (self.upsampling != "transposed") + 2
        return -(-spoiled // self.stride) * self.stride


class DoubleConv(nn.Module):
    """Twice (3 x 3 convolution, batch norm, ReLU): N x D_in x H x W -> N x D_out x H x W."""

    def __init__(self, d_in: int, d_out: int, *, d_middle: int, bias: bool) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(d_in, d_middle, kernel_size=3, padding=1, bias=bias),
            nn.BatchNorm2d(d_middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(d_middle, d_out, kernel_size=3, padding=1, bias=bias),
            nn.BatchNorm2d(d_out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.double_conv(x)
        return out


class Down(nn.Module):
    """2 x 2 max pooling, then a double convolution: N x D_in x H x W -> N x D_out x H//2 x W//2."""

    def __init__(self, d_in: int, d_out: int, *, bias: bool) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(d_in, d_out, d_middle=d_out, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.maxpool_conv(x)
        return out


class Up(nn.Module):
    """Doubles the map from below, joins the encoder's map of that level (`skip`), then a double convolution."""

    def __init__(self, d_below: int, d_skip: int, d_out: int, config: UNetConfig) -> None:
        super().__init__()
        self.up: nn.Module
        if config.upsampling == "transposed":
            self.up = nn.ConvTranspose2d(d_below, d_skip, kernel_size=2, stride=2)
            d_joined = 2 * d_skip
        else:
            aligned = config.upsampling == "bilinear_aligned"
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=aligned)
            d_joined = d_below + d_skip
        d_middle = d_joined // 2 if config.halve_middle else d_out
        self.conv = DoubleConv(d_joined, d_out, d_middle=d_middle, bias=config.conv_bias)

    def forward(self, below: Tensor, skip: Tensor, crops: list[Crop] | None = None) -> Tensor:
        """`crops`: of `skip` and of what comes from below, once upsampled."""
        below = self.up(below)
        if crops:
            skip, below = cropped(skip, crops[0]), cropped(below, crops[1])
        rows, columns = skip.shape[-2] - below.shape[-2], skip.shape[-1] - below.shape[-1]
        if rows or columns:  # pooling dropped an odd row or column
            below = F.pad(below, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        out: Tensor = self.conv(torch.cat((skip, below), dim=1))
        return out


class OutConv(nn.Module):
    """1 x 1 convolution to the classes: N x D x H x W -> N x K x H x W."""

    def __init__(self, d_in: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(d_in, classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


def cropped(x: Tensor, crop: Crop) -> Tensor:
    """A view of some rows and columns of a map."""
    (top, bottom), (left, right) = crop
    return x[..., top:bottom, left:right]


class UNet(nn.Module):
    """N x C x H x W float in, N x K x H x W logits out, for any H and W from 1 up.

    With `UNetConfig(width=64, upsampling="bilinear_aligned", conv_bias=True)` the parameters have the names and shapes
    of the tutorial's net (13,394,177 of them for one channel in and out).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width, depth, bias = config.width, config.depth, config.conv_bias
        doubled = config.bottleneck == "double"
        encoder = [width * 2**level for level in range(depth)]
        d_below = encoder[-1] * (2 if doubled else 1)

        self.inc = DoubleConv(config.in_channels, width, d_middle=width, bias=bias)
        for level, (d_in, d_out) in enumerate(zip(encoder, [*encoder[1:], d_below], strict=True), start=1):
            self.add_module(f"down{level}", Down(d_in, d_out, bias=bias))
        for step, d_skip in enumerate(reversed(encoder), start=1):
            d_out = d_skip if doubled or step == depth else d_skip // 2
            self.add_module(f"up{step}", Up(d_below, d_skip, d_out, config))
            d_below = d_out
        self.outc = OutConv(width, config.classes)

    def forward(self, x: Tensor, crops: list[Crop] | None = None) -> Tensor:
        """`crops`: those of `model.tiles.decoder_crops`, for an x of whole multiples of the grid; None for none."""
        height, width = x.shape[-2:]
        depth = self.config.depth
        maps = [self.inc(self._padded(x))]
        for level in range(1, depth + 1):
            maps.append(self.get_submodule(f"down{level}")(maps[-1]))
        below = maps.pop()
        for level in reversed(range(depth)):
            up = self.get_submodule(f"up{depth - level}")
            below = up(below, maps.pop(), crops and crops[2 * level : 2 * level + 2])
        logits: Tensor = self.outc(below)
        return cropped(logits, crops[-1]) if crops else logits[..., :height, :width]

    def _padded(self, x: Tensor) -> Tensor:
        """Edge pixels repeated to the right and below, up to the grid and to at least one pixel at the bottom."""
        smallest = self.config.stride
        rows, columns = (max(smallest, -(-size // self.config.grid) * self.config.grid) - size for size in x.shape[-2:])
        return F.pad(x, (0, columns, 0, rows), mode="replicate") if rows or columns else x


class ProbabilityUNet(UNet):
    """The net for other programs: N x C x H x W float in, N x K x H x W probabilities out.

    Sigmoid of one class, softmax of several. Its tensors have the names of `UNet`'s, and it takes its configuration as
    plain values, too: with a state dict this file is all that is needed.
    """

    def __init__(self, config: UNetConfig | dict[str, Any]) -> None:
        super().__init__(UNetConfig.model_validate(config))

    @classmethod
    def of(cls, net: UNet) -> "ProbabilityUNet":
        """A net that shares the tensors of another, in evaluation mode."""
        with torch.device("meta"):
            twin = cls(net.config)
        twin.load_state_dict(net.state_dict(), assign=True)
        return twin.eval()

    def forward(self, x: Tensor, crops: list[Crop] | None = None) -> Tensor:
        """`crops`: as in `UNet.forward`."""
        logits = super().forward(x, crops)
        return logits.softmax(dim=1) if logits.shape[1] > 1 else logits.sigmoid()
