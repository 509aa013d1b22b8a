"""The U-Net of Ronneberger, Fischer and Brox (MICCAI 2015), padded so that its output is as large as its input.

Shape letters: N images, C input channels, K classes, H height, W width, D channels of a feature map.
"""

from typing import Any, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

Crop: TypeAlias = list[list[int]]
"""[first row, end row], [first column, end column]."""


class UNetConfig(BaseModel):
    """The architecture of a `UNet`; the defaults are those of the nets that this project trains.

    Attributes:
        upsampling: "bilinear" (half-pixel centres) and "transposed" treat each pixel alike wherever it lies.
            "bilinear_aligned" (aligned corners, as in the tutorial) makes the output depend on the position.
        bottleneck: "double" doubles the channels at the deepest level, as the paper does (1024 at width 64); "same"
            keeps them (512).
        conv_bias: The 3 x 3 convolutions have biases.
        halve_middle: The first convolution of a decoder block halves its input's channels; else it has the block's.
        downsampling: The net averages its input over squares of this side in pixels, computes at that scale, and
            upsamples its logits bilinearly. Metadata omit 1, so that earlier versions can read them.
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
    downsampling: Literal[1, 2, 4] = Field(1, exclude_if=lambda side: side == 1)

    @model_validator(mode="after")
    def _aligned_nets_keep_the_scale(self) -> "UNetConfig":
        if self.downsampling > 1 and self.upsampling == "bilinear_aligned":
            raise ValueError("downsampling must be 1 for upsampling 'bilinear_aligned'")
        return self

    @property
    def stride(self) -> int:
        """Side, in pixels of the image, of the square that one pixel of the deepest map covers."""
        return int(self.downsampling * 2**self.depth)

    @property
    def grid(self) -> int:
        """Spacing in pixels: images are padded to multiples of the grid, and tiles start at multiples of it.

        The grid is 1 for aligned corners: such nets treat odd sizes as the original does, by padding in the decoder.
        """
        return 1 if self.upsampling == "bilinear_aligned" else self.stride

    @property
    def halo(self) -> int:
        """Distance in pixels from a cut edge up to which the cut may change the output, rounded up to the grid.

        Tiles must overlap by the halo. It is counted layer by layer: each 3 x 3 convolution adds one pixel, pooling
        halves, upsampling doubles, and bilinear interpolation adds one pixel, also where it upsamples the logits.
        """
        spoiled = 2
        for _ in range(self.depth):
            spoiled = (spoiled + 1) // 2 + 2
        for _ in range(self.depth):
            spoiled = 2 * spoiled + (self.upsampling != "transposed") + 2
        spoiled += self.downsampling > 1
        return -(-spoiled * self.downsampling // self.stride) * self.stride

    @property
    def is_unlimited(self) -> bool:
        """True if each result depends on the whole image, so that tiles would change it: never."""
        return False

    @property
    def tile_scale(self) -> int:
        """Pixels per wanted pixel of a tile's side; 1 for several classes, whose large logits would fill the memory."""
        return self.downsampling if self.classes == 1 else 1

    def tile_side(self, wanted: int) -> int:
        """The side of the largest tile in pixels: the wanted one at the scale of the net."""
        return wanted * self.tile_scale


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
    """Net from N x C x H x W float images to N x K x H x W logits, for any H and W from 1 up.

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

    def forward(self, x: Tensor, crops: list[Crop] | None = None, *, upsampled: bool = True) -> Tensor:
        """Computes logits, N x K x H x W, or those of the rows and columns that `crops` keep.

        Args:
            x: N x C x H x W float. With crops, or without upsampling, H and W are multiples of the grid.
            crops: The result of `model.tiles.decoder_crops`, or None to compute all logits.
            upsampled: False leaves out the last upsampling of a net with `downsampling`, for a loss at the net's own
                scale: N x K x H/downsampling x W/downsampling.
        """
        height, width = x.shape[-2:]
        depth, downsampling = self.config.depth, self.config.downsampling
        x = self._padded(x)
        if downsampling > 1:
            x = F.avg_pool2d(x, downsampling)
        maps = [self.inc(x)]
        for level in range(1, depth + 1):
            maps.append(self.get_submodule(f"down{level}")(maps[-1]))
        below = maps.pop()
        for level in reversed(range(depth)):
            up = self.get_submodule(f"up{depth - level}")
            below = up(below, maps.pop(), crops and crops[2 * level : 2 * level + 2])
        logits: Tensor = self.outc(below)
        if not upsampled:
            return logits[..., : -(-height // downsampling), : -(-width // downsampling)]
        if downsampling > 1:
            logits = cropped(logits, crops[-2]) if crops else logits
            logits = F.interpolate(logits, scale_factor=downsampling, mode="bilinear", align_corners=False)
        return cropped(logits, crops[-1]) if crops else logits[..., :height, :width]

    def _padded(self, x: Tensor) -> Tensor:
        """Repeats the last column and row up to multiples of the grid, and at least up to the stride."""
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

    def forward(self, x: Tensor, crops: list[Crop] | None = None, *, upsampled: bool = True) -> Tensor:
        """Computes probabilities, N x K x H x W. The arguments are those of `UNet.forward`."""
        logits = super().forward(x, crops, upsampled=upsampled)
        return logits.softmax(dim=1) if logits.shape[1] > 1 else logits.sigmoid()
