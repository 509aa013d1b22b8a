import platform
import subprocess
import sys

import pytest
import torch

from training.data import free_memory
from training.loop import memory
from training.loop.memory import TooLittleMemory, choose_parts, drawn_bytes, image_bytes, net_bytes
from training.recipe import DEFAULT, TUTORIAL

CPU = torch.device("cpu")
SMALL = DEFAULT.model_copy(update={"net": DEFAULT.net.model_copy(update={"width": 4}), "batch": 4})


def test_bytes_grow_with_pixels_and_with_width():
    one = image_bytes(SMALL, 256, 256, CPU)
    assert image_bytes(SMALL, 512, 256, CPU) == pytest.approx(2 * one)
    wider = SMALL.model_copy(update={"net": SMALL.net.model_copy(update={"width": 16})})
    assert 3 * one < image_bytes(wider, 256, 256, CPU) < 5 * one


@pytest.mark.parametrize("downsampling", [2, 4])
def test_a_coarser_scale_saves_memory_in_the_net_and_in_the_loss(downsampling):
    net = SMALL.net.model_copy(update={"classes": 11})
    several = SMALL.model_copy(update={"net": net, "loss": "cross_entropy_dice"})
    coarse = several.model_copy(update={"net": net.model_copy(update={"downsampling": downsampling})})
    whole, small = (image_bytes(recipe, 256, 256, CPU) for recipe in (several, coarse))
    assert small == pytest.approx(whole / downsampling**2, rel=0.1)


@pytest.mark.parametrize(("images_that_fit", "parts"), [(9, 1), (4, 1), (3, 2), (2, 2), (1, 4)])
def test_a_batch_is_cut_into_parts_that_fit(monkeypatch, images_that_fit, parts):
    fixed = net_bytes(SMALL) + drawn_bytes(4, 1, 256, 256, workers=0)
    free = (fixed + (images_that_fit + 0.5) * image_bytes(SMALL, 256, 256, CPU)) / memory.SHARE
    monkeypatch.setattr(memory, "free_bytes", lambda _: int(free))
    assert choose_parts(SMALL, 256, 256, CPU) == parts


def test_not_even_one_image_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda _: net_bytes(TUTORIAL) / memory.SHARE + 2**24)
    with pytest.raises(TooLittleMemory, match=r"one 512 x 256 image takes .* GiB.*--crop"):
        choose_parts(TUTORIAL, 256, 512, CPU)


def test_a_net_that_does_not_fit_is_never_made():
    wide = DEFAULT.model_copy(update={"net": DEFAULT.net.model_copy(update={"width": 2**15})})
    with pytest.raises(TooLittleMemory, match=r"a net of width 32768 takes .* GiB to train.*--width"):
        choose_parts(wide, 256, 256, CPU)


def test_batches_that_do_not_fit_are_never_drawn():
    many = SMALL.model_copy(update={"batch": 10**7})
    with pytest.raises(TooLittleMemory, match=r"batches of 10000000 256 x 256 images take .* GiB.*--batch"):
        choose_parts(many, 256, 256, CPU, workers=1)


def test_the_copies_of_weights_that_autograd_keeps_are_of_no_image():
    """At a width where they are most of what is kept."""
    recipe = DEFAULT.model_copy(update={"net": DEFAULT.net.model_copy(update={"width": 32})})
    in_16_bits, in_32_bits = (
        image_bytes(recipe.model_copy(update={"name": name}), 256, 256, CPU) for name in ("default", "tutorial")
    )
    assert in_16_bits == pytest.approx(in_32_bits / 2, rel=0.1) or in_16_bits == in_32_bits  # without bfloat16


def test_free_memory_is_that_of_the_container_if_less(monkeypatch, tmp_path):
    limit, used, stat = tmp_path / "max", tmp_path / "current", tmp_path / "stat"
    limit.write_text("1000000\n")
    used.write_text("400000\n")
    stat.write_text("anon 150000\nfile 250000\ninactive_file 200000\n")
    monkeypatch.setattr(free_memory, "CGROUP_LIMIT", limit)
    monkeypatch.setattr(free_memory, "CGROUP_USED", used)
    monkeypatch.setattr(free_memory, "CGROUP_STAT", stat)
    assert memory.free_bytes(CPU) == 800000
    limit.write_text("max\n")
    assert memory.free_bytes(CPU) > 2**27


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_freed_memory_stays_with_the_process():
    code = """
import psutil, torch
from training.loop.memory import keep_freed
resident = lambda: psutil.Process().memory_info().rss / 2**20
keep_freed()
before, tensor = resident(), torch.ones(2**26, dtype=torch.uint8)
del tensor
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 60
