import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from model.unet import ProbabilityUNet, UNet, UNetConfig

TUTORIAL = {"width": 64, "upsampling": "bilinear_aligned", "conv_bias": True}
PYTORCH_UNET = {"width": 64, "in_channels": 3, "classes": 2}
PYTORCH_UNET_BILINEAR = PYTORCH_UNET | {"upsampling": "bilinear_aligned", "halve_middle": True}
PYTORCH_UNET_TRANSPOSED = PYTORCH_UNET | {"upsampling": "transposed", "bottleneck": "double"}

# (block, channels in, in the middle, out), written down from the originals
ENCODER = [
    ("down1.maxpool_conv.1", 64, 128, 128),
    ("down2.maxpool_conv.1", 128, 256, 256),
    ("down3.maxpool_conv.1", 256, 512, 512),
]
TUTORIAL_BLOCKS = [
    ("inc", 1, 64, 64),
    *ENCODER,
    ("down4.maxpool_conv.1", 512, 512, 512),
    ("up1.conv", 1024, 256, 256),
    ("up2.conv", 512, 128, 128),
    ("up3.conv", 256, 64, 64),
    ("up4.conv", 128, 64, 64),
]
BILINEAR_BLOCKS = [
    ("inc", 3, 64, 64),
    *ENCODER,
    ("down4.maxpool_conv.1", 512, 512, 512),
    ("up1.conv", 1024, 512, 256),
    ("up2.conv", 512, 256, 128),
    ("up3.conv", 256, 128, 64),
    ("up4.conv", 128, 64, 64),
]
TRANSPOSED_BLOCKS = [
    ("inc", 3, 64, 64),
    *ENCODER,
    ("down4.maxpool_conv.1", 512, 1024, 1024),
    ("up1.conv", 1024, 512, 512),
    ("up2.conv", 512, 256, 256),
    ("up3.conv", 256, 128, 128),
    ("up4.conv", 128, 64, 64),
]


def expected_shapes(blocks: list[tuple[str, int, int, int]], *, bias: bool, classes: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"outc.conv.weight": (classes, 64, 1, 1), "outc.conv.bias": (classes,)}
    for block, d_in, d_middle, d_out in blocks:
        for index, d_from, d_to in ((0, d_in, d_middle), (3, d_middle, d_out)):
            shapes[f"{block}.double_conv.{index}.weight"] = (d_to, d_from, 3, 3)
            if bias:
                shapes[f"{block}.double_conv.{index}.bias"] = (d_to,)
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{block}.double_conv.{index + 1}.{name}"] = (d_to,)
            shapes[f"{block}.double_conv.{index + 1}.num_batches_tracked"] = ()
    return shapes


def shapes_of(config: UNetConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in UNet(config).state_dict().items()}


def reference(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The tutorial's net in evaluation mode, as plain functions of its state dict."""

    def block(x: Tensor, name: str) -> Tensor:
        for conv, norm in ((0, 1), (3, 4)):
            at = f"{name}.double_conv.{conv}"
            x = F.conv2d(x, state[f"{at}.weight"], state.get(f"{at}.bias"), padding=1)
            at = f"{name}.double_conv.{norm}"
            mean, variance = state[f"{at}.running_mean"], state[f"{at}.running_var"]
            x = F.relu(F.batch_norm(x, mean, variance, state[f"{at}.weight"], state[f"{at}.bias"]))
        return x

    maps = [block(x, "inc")]
    for level in (1, 2, 3, 4):
        maps.append(block(F.max_pool2d(maps[-1], 2), f"down{level}.maxpool_conv.1"))
    y = maps.pop()
    for step in (1, 2, 3, 4):
        skip = maps.pop()
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)
        missing_y, missing_x = skip.size(2) - y.size(2), skip.size(3) - y.size(3)
        left, top = missing_x // 2, missing_y // 2
        y = F.pad(y, [left, missing_x - left, top, missing_y - top])
        y = block(torch.cat([skip, y], dim=1), f"up{step}.conv")
    return F.conv2d(y, state["outc.conv.weight"], state["outc.conv.bias"])


@pytest.mark.parametrize(
    ("settings", "count"),
    [(TUTORIAL, 13_394_177), (PYTORCH_UNET_BILINEAR, 17_263_042), (PYTORCH_UNET_TRANSPOSED, 31_037_698)],
)
def test_the_originals_have_as_many_parameters(settings, count):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in UNet(UNetConfig(**settings)).parameters()) == count


def test_names_and_shapes_are_the_tutorials():
    assert shapes_of(UNetConfig(**TUTORIAL)) == expected_shapes(TUTORIAL_BLOCKS, bias=True, classes=1)


def test_names_and_shapes_are_those_of_the_bilinear_pytorch_unet():
    assert shapes_of(UNetConfig(**PYTORCH_UNET_BILINEAR)) == expected_shapes(BILINEAR_BLOCKS, bias=False, classes=2)


def test_names_and_shapes_are_those_of_the_transposed_pytorch_unet():
    expected = expected_shapes(TRANSPOSED_BLOCKS, bias=False, classes=2)
    for step, (d_in, d_out) in enumerate([(1024, 512), (512, 256), (256, 128), (128, 64)], start=1):
        expected |= {f"up{step}.up.weight": (d_in, d_out, 2, 2), f"up{step}.up.bias": (d_out,)}
    assert shapes_of(UNetConfig(**PYTORCH_UNET_TRANSPOSED)) == expected


@pytest.mark.parametrize("size", [(512, 512), (250, 333), (16, 16), (17, 31), (64, 97)])
@torch.inference_mode()
def test_logits_are_the_tutorials_bit_for_bit(make_net, size):
    net = make_net(full_scale=255, width=8, upsampling="bilinear_aligned", conv_bias=True)
    x = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(1)) * 255
    assert torch.equal(net(x), reference(net.state_dict(), x))


@torch.inference_mode()
def test_logits_of_the_pytorch_unet_are_the_originals_bit_for_bit(make_net):
    net = make_net(width=8, in_channels=3, classes=4, upsampling="bilinear_aligned", halve_middle=True)
    x = torch.rand(2, 3, 75, 133, generator=torch.Generator().manual_seed(1))
    assert torch.equal(net(x), reference(net.state_dict(), x))


@pytest.mark.parametrize("upsampling", ["bilinear", "bilinear_aligned", "transposed"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 2), (15, 16), (16, 17), (37, 103)])
@torch.inference_mode()
def test_any_size_from_one_pixel_up_keeps_its_size(make_net, upsampling, size):
    net = make_net(in_channels=2, classes=3, upsampling=upsampling)
    logits = net(torch.rand(2, 2, *size))
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("downsampling", [1, 2, 4])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@torch.inference_mode()
def test_grid_follows_depth_and_downsampling(make_net, depth, downsampling):
    net = make_net(depth=depth, width=2, downsampling=downsampling)
    assert net.config.grid == net.config.stride == downsampling * 2**depth
    assert net(torch.rand(1, 1, 45, 7)).shape == (1, 1, 45, 7)


@pytest.mark.parametrize("downsampling", [2, 4])
@pytest.mark.parametrize("size", [(64, 128), (1, 1), (65, 127), (33, 2)])
@torch.inference_mode()
def test_downsampling_averages_the_input_and_upsamples_the_logits(make_net, downsampling, size):
    net = make_net(downsampling=downsampling, classes=2).double()
    plain = UNet(net.config.model_copy(update={"downsampling": 1})).eval().double()
    plain.load_state_dict(net.state_dict())
    x = torch.rand(2, 1, *size, dtype=torch.double)
    padded = F.pad(x, (0, -size[1] % net.config.grid, 0, -size[0] % net.config.grid), mode="replicate")
    small = padded.unfold(2, downsampling, downsampling).unfold(3, downsampling, downsampling).mean(dim=(-2, -1))
    expected = F.interpolate(plain(small), padded.shape[-2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(net(x), expected[..., : size[0], : size[1]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"upsampling": "transposed"}, {"depth": 3, "downsampling": 2}], ids=str)
@torch.inference_mode()
def test_past_the_right_and_lower_edge_lie_the_edge_pixels_again(make_net, settings):
    net = make_net(**settings)
    x = torch.rand(1, 1, 37, 50)
    padded = torch.cat([x, x[..., -1:].expand(-1, -1, -1, 14)], dim=3)
    padded = torch.cat([padded, padded[:, :, -1:].expand(-1, -1, 11, -1)], dim=2)
    assert torch.equal(net(x), net(padded)[..., :37, :50])


@torch.inference_mode()
def test_the_input_is_left_as_it_was(make_net):
    x = torch.rand(1, 1, 32, 32) - 0.5
    before = x.clone()
    make_net()(x)
    assert torch.equal(x, before)


@torch.inference_mode()
def test_images_of_a_batch_do_not_see_each_other(make_net):
    net = make_net()
    x = torch.rand(3, 1, 48, 32)
    torch.testing.assert_close(net(x), torch.cat([net(one) for one in x.split(1)]), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_channels_last_gives_the_same_logits(make_net):
    net, x = make_net(), torch.rand(1, 1, 53, 70)
    expected = net(x)
    last = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, rtol=0, atol=1e-4)


def test_every_parameter_is_trained(make_net):
    net = make_net(classes=2, upsampling="transposed").train()
    net(torch.rand(2, 1, 32, 32)).square().mean().backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
@pytest.mark.parametrize(("depth", "downsampling"), [(1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (2, 2), (3, 2), (2, 4)])
@torch.inference_mode()
def test_the_halo_is_the_nets_true_reach_rounded_up_to_the_grid(make_net, upsampling, depth, downsampling):
    net = make_net(depth=depth, upsampling=upsampling, downsampling=downsampling).double()
    for parameter in net.parameters():
        parameter.abs_()  # no ReLU dies and nothing cancels, so a change shows wherever it can reach
    grid, halo = net.config.grid, net.config.halo
    cut = 2 * grid * (halo // grid + 1)
    x = torch.rand(1, 1, grid, 2 * cut, dtype=torch.double)
    expected = net(x)
    reach = 0
    for side in (slice(None, cut), slice(cut, None)):
        changed = x.clone()
        changed[..., side] += 100
        columns = (net(changed) != expected).any(dim=2).flatten().nonzero()
        reach = max(reach, cut - int(columns.min()) if side.start else int(columns.max()) - cut + 1)
    assert halo == -(-reach // grid) * grid


@torch.inference_mode()
def test_aligned_corners_treat_a_pixel_by_where_it_lies(make_net):
    """Why new nets do without them, and why such nets are not promised to be seamless in tiles."""
    x = torch.rand(1, 1, 256, 16)
    inner = {}
    for upsampling in ("bilinear", "bilinear_aligned"):
        net = make_net(depth=2, upsampling=upsampling)
        inner[upsampling] = (net(x)[..., 64:192, :] - net(x[..., 32:224, :])[..., 32:160, :]).abs().max().item()
    assert inner["bilinear"] < 1e-5 < 1e-2 < inner["bilinear_aligned"]


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 0},
        {"in_channels": 0},
        {"classes": 257},
        {"depth": 0},
        {"depth": 9},
        {"upsampling": "nearest"},
        {"bottleneck": "triple"},
        {"downsampling": 3},
        {"downsampling": 0},
        {"bilinear": True},
    ],
)
def test_a_net_that_cannot_be_built_is_refused_with_its_setting(settings):
    [name] = settings
    with pytest.raises(ValidationError, match=name):
        UNetConfig(**settings)


def test_a_net_with_aligned_corners_takes_no_downsampling():
    with pytest.raises(ValidationError, match="downsampling must be 1 for upsampling 'bilinear_aligned'"):
        UNetConfig(upsampling="bilinear_aligned", downsampling=2)


@pytest.mark.parametrize(("downsampling", "stored"), [(1, {}), (2, {"downsampling": 2})])
def test_metadata_hold_the_downsampling_only_if_there_is_any(downsampling, stored):
    config = UNetConfig(downsampling=downsampling)
    plain = UNetConfig().model_dump(mode="json")
    assert "downsampling" not in plain
    assert config.model_dump(mode="json") == plain | stored
    assert UNetConfig.model_validate_json(config.model_dump_json()) == config


def test_a_config_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        UNetConfig().width = 64  # type: ignore[misc]


@pytest.mark.parametrize("classes", [1, 3])
@torch.inference_mode()
def test_a_probability_net_applies_sigmoid_or_softmax(make_net, classes):
    net, x = make_net(classes=classes), torch.rand(2, 1, 37, 50)
    logits = net(x)
    expected = logits.softmax(dim=1) if classes > 1 else logits.sigmoid()
    assert torch.equal(ProbabilityUNet.of(net)(x), expected)


@torch.inference_mode()
def test_a_probability_net_is_built_from_plain_values(make_net):
    net, x = make_net(classes=3), torch.rand(1, 1, 32, 48)
    plain = ProbabilityUNet(net.config.model_dump())
    plain.load_state_dict(net.state_dict())
    assert torch.equal(plain.eval()(x), ProbabilityUNet.of(net)(x))
