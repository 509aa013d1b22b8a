import platform
import subprocess
import sys

import pytest

PAGES_FAULTED_IN = """
import resource
import torch
from training.machine import keep_freed_memory
{first}
def use_a_block():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([use_a_block() for _ in range(40)][-1])  # the first ones find where there is room
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc is what is set")
def test_freed_memory_is_used_again_without_asking_the_kernel():
    def pages(first: str) -> int:
        code = PAGES_FAULTED_IN.format(first=first)
        return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)

    assert pages("keep_freed_memory()") < 10 < pages("")
