"""Install the pinned torch into the Python that runs this script, and say which build was chosen and why.

    python requirements/install_torch.py

The name ``torch==2.13.0`` stands for several builds: on Linux, PyPI's brings gigabytes of CUDA libraries, PyTorch's
CPU index has a small one. A lock file cannot make that choice, so this script does, for Makefile and Dockerfile alike:

- torch is there in that version already: nothing to do;
- ``TORCH_INDEX`` is set: from that package index;
- ``TORCH_BUILD=cuda``, or a working NVIDIA driver: the CUDA build from PyPI;
- otherwise the CPU index; where it cannot be reached, plain pip, but only if pip then finds a CPU build on its own
  (``PIP_FIND_LINKS``, an index of one's own in pip.conf).

``TORCH_BUILD`` is ``auto`` (the default), ``cpu`` or ``cuda``. The script needs only the standard
library, because it runs before anything is installed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

REQUIREMENT = Path(__file__).with_name("torch.txt").read_text(encoding="utf-8").split()[-1]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_S = 5  # enough for a slow line, and little to lose where the index is blocked

# The locks pin the few pure Python packages that a CPU build needs.
ALONE = ["--no-deps"]


def main() -> None:
    """Choose, say so, install."""
    present = installed_version()
    if present.split("+")[0] == REQUIREMENT.split("==")[1]:
        say(f"{present} is already installed")
        return
    reason, options = choose(os.environ.get("TORCH_BUILD") or "auto", os.environ.get("TORCH_INDEX") or "")
    say(f"installing {REQUIREMENT}: {reason}")
    progress = [] if sys.stdout.isatty() else ["--quiet"]
    pip("install", *progress, *options, REQUIREMENT)
    say(f"installed {installed_version()}")


def choose(build: str, index: str) -> tuple[str, list[str]]:
    """Return the reason to print, and the options for ``pip install``."""
    if build not in {"auto", "cpu", "cuda"}:
        sys.exit(f"torch: TORCH_BUILD={build}: expected auto, cpu or cuda")
    if index:
        return f"from {index} (TORCH_INDEX is set)", ["--index-url", index]
    if build == "cuda":
        return "CUDA build, as pip finds it (TORCH_BUILD=cuda)", []
    if sys.platform != "linux":
        return f"as pip finds it (PyPI has a CPU build for {sys.platform})", []
    if build == "auto" and has_nvidia_gpu():
        return "CUDA build, as pip finds it (nvidia-smi finds a GPU)", []
    why_cpu = "TORCH_BUILD=cpu" if build == "cpu" else "no NVIDIA GPU found"
    if answers(CPU_INDEX):
        return f"CPU build from {CPU_INDEX} ({why_cpu})", [*ALONE, "--index-url", CPU_INDEX]
    if plain_pip_finds_cpu_build():
        return f"the CPU build that plain pip finds ({why_cpu}; {CPU_INDEX} cannot be reached)", ALONE
    sys.exit(
        f"torch: no CPU build of {REQUIREMENT} found: {CPU_INDEX} cannot be reached, and plain pip offers none.\n"
        "torch: set TORCH_INDEX to a package index that has one, or TORCH_BUILD=cuda to take the CUDA build from PyPI."
    )


def installed_version() -> str:
    """Return the version of torch in this Python, empty if there is none."""
    # Asked in a new process: this one's import system does not see what pip has just installed.
    code = "import importlib.metadata as m; print(m.version('torch'))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.strip()


def has_nvidia_gpu() -> bool:
    """Tell whether the driver's own tool runs and lists a GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    listing = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU" in listing.stdout


def answers(index: str) -> bool:
    """Tell whether the index answers soon. pip itself would retry for minutes."""
    # In a process of its own, because a name look-up that hangs obeys no timeout of urllib's.
    code = f"import urllib.request; urllib.request.urlopen('{index}/torch/', timeout={PROBE_S}).close()"
    try:
        probe = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PROBE_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return probe.returncode == 0


def plain_pip_finds_cpu_build() -> bool:
    """Tell whether pip, as it is configured here, resolves the requirement to a build without CUDA packages."""
    # Before 23.3 pip downloads the whole wheel even for a dry run: then look at local files only.
    major, minor = (int(number) for number in metadata.version("pip").split(".")[:2])
    offline = [] if (major, minor) >= (23, 3) else ["--no-index"]
    patience = ["--timeout", "15", "--retries", "1"]
    dry_run = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-", *patience, *ALONE, *offline]
    report = subprocess.run(
        [sys.executable, "-m", "pip", *dry_run, REQUIREMENT], capture_output=True, text=True, check=False
    )
    if report.returncode != 0:
        return False
    (torch,) = json.loads(report.stdout)["install"]
    return not any(re.match("nvidia|cuda|triton", needed) for needed in torch["metadata"].get("requires_dist", []))


def pip(*arguments: str) -> None:
    """Run this Python's pip; leave with its status if it fails, its own message being the clear one."""
    status = subprocess.run([sys.executable, "-m", "pip", *arguments], check=False).returncode
    if status != 0:
        sys.exit(status)


def say(line: str) -> None:
    """Print one line at once, also into a pipe."""
    print(f"torch: {line}", flush=True)


if __name__ == "__main__":
    main()
