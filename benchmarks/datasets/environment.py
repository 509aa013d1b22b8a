"""Creates the peers' requirements: a virtual environment with MONAI, and a clone of Pytorch-UNet.

Both are created when they are first needed. Nothing is installed into this project's own environment.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.servers import ROOT

# MONAI asks for any torch, so the exact version is installed first, from the index that has it without CUDA.
MONAI = "monai==1.6.1"
PACKAGES = (MONAI, "numpy", "pillow", "tqdm")
_LOCK = ROOT / "requirements" / "dev.txt"
_TORCH = ROOT / "requirements" / "torch.txt"
_INSTALL_TORCH = ROOT / "requirements" / "install_torch.py"

PYTORCH_UNET = "https://github.com/milesial/Pytorch-UNet"
PYTORCH_UNET_COMMIT = "21d7850f2af30a9695bbeea75f3136aa538cfc4a"


class EnvironmentFailed(RuntimeError):
    """A peer's environment that could not be created. The message says which command failed and what helps."""


def cache_folder() -> Path:
    """Where environments and programs of the peers are kept: `$XDG_CACHE_HOME` or `~/.cache`, in a folder of ours."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "unet-segmentation-service"


def peer_python(venv: Path) -> Path:
    """The Python of the peers' virtual environment, which is created if it is missing or has other packages."""
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = "\n".join([_TORCH.read_text(encoding="utf-8").split()[-1], *PACKAGES])
    stamp = venv / "installed.txt"  # written last: an interrupted installation is repeated
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"peers: creating {venv} with {', '.join(wanted.split())}", file=sys.stderr, flush=True)
    _call(sys.executable, "-m", "venv", str(venv))
    _call(str(python), str(_INSTALL_TORCH), TORCH_BUILD="cpu")
    _call(str(python), "-m", "pip", "install", "--quiet", "-c", str(_LOCK), "-c", str(_TORCH), *PACKAGES)
    stamp.write_text(wanted)
    return python


def pytorch_unet(folder: Path) -> Path:
    """A folder with Pytorch-UNet's program, which is cloned there if `train.py` is missing."""
    if not (folder / "train.py").is_file():
        print(f"peers: cloning {PYTORCH_UNET} into {folder}", file=sys.stderr, flush=True)
        _call("git", "clone", "--quiet", PYTORCH_UNET, str(folder), hint="; --pytorch-unet DIR takes an existing clone")
        _call("git", "-C", str(folder), "checkout", "--quiet", PYTORCH_UNET_COMMIT)
    return folder


def commit_of(folder: Path) -> str:
    """The commit of a Git work tree, with "-dirty" if tracked files differ from it; "unknown" if there is none."""
    git = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=10"]
    described = subprocess.run(git, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"


def _call(*command: str, hint: str = "", **environment: str) -> None:
    status = subprocess.run(command, env=os.environ | environment, check=False).returncode
    if status:
        raise EnvironmentFailed(f"{' '.join(command)}: exit code {status}{hint}")
