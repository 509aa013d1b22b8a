import platform
import subprocess
import sys

import pytest
import torch

from training import memory
from training.memory import TooLittleMemory, choose_parts, image_bytes
from training.recipe import DEFAULT, TUTORIAL

CPU = torch.device("cpu")
SMALL = DEFAULT.model_copy(update={"net": DEFAULT.net.model_copy(update={"width": 4}), "batch": 4})


def test_bytes_grow_with_pixels_and_with_width():
    one = image_bytes(SMALL, 256, 256, CPU)
    assert image_bytes(SMALL, 512, 256, CPU) == pytest.approx(2 * one)
    wider = SMALL.model_copy(update={"net": SMALL.net.model_copy(update={"width": 16})})
    assert 3 * one < image_bytes(wider, 256, 256, CPU) < 5 * one


@pytest.mark.parametrize(("images_that_fit", "parts"), [(9, 1), (4, 1), (3, 2), (2, 2), (1, 4)])
def test_a_batch_is_cut_into_parts_that_fit(monkeypatch, images_that_fit, parts):
    free = (images_that_fit + 0.5) * image_bytes(SMALL, 256, 256, CPU) / memory.SHARE
    monkeypatch.setattr(memory, "free_bytes", lambda _: int(free))
    assert choose_parts(SMALL, 256, 256, CPU) == parts


def test_not_even_one_image_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda _: 2**20)
    with pytest.raises(TooLittleMemory, match=r"one 512 x 256 image takes .* GiB.*--crop"):
        choose_parts(TUTORIAL, 256, 512, CPU)


def test_free_memory_is_that_of_the_container_if_less(monkeypatch, tmp_path):
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("1000000\n")
    used.write_text("400000\n")
    monkeypatch.setattr(memory, "CGROUP_LIMIT", limit)
    monkeypatch.setattr(memory, "CGROUP_USED", used)
    assert memory.free_bytes(CPU) == 600000
    limit.write_text("max\n")
    assert memory.free_bytes(CPU) > 2**27


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_what_is_freed_stays_with_the_process():
    code = """
import psutil, torch
from training.memory import keep_freed
resident = lambda: psutil.Process().memory_info().rss / 2**20
keep_freed()
before, tensor = resident(), torch.ones(2**26, dtype=torch.uint8)
del tensor
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 60
