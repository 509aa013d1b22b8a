"""The scripts of docs/viewers: in ImageJ against a real server, where it is installed, else at least their syntax."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from roifile import roiread

from model.inputs.preprocessing import Pixels
from tests.end_to_end.http import HTTP
from tests.support.server_kit import tiff

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "docs/viewers"
IMAGEJ = Path("/usr/share/java/ij.jar")
# the phase before names are looked up, so that QuPath need not be there
CHECK = "new org.codehaus.groovy.control.CompilationUnit().with { addSource(new File(args[0])); compile(3) }"

needs_groovy = pytest.mark.skipif(shutil.which("groovy") is None, reason="needs groovy")
needs_imagej = pytest.mark.skipif(
    shutil.which("xvfb-run") is None or not IMAGEJ.exists(), reason="needs ImageJ 1 and xvfb-run"
)


@needs_groovy
def test_the_script_for_qupath_is_groovy():
    script = str(SCRIPTS / "qupath_segment.groovy")
    done = subprocess.run(["groovy", "-e", CHECK, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@needs_groovy
@needs_imagej
def test_the_script_for_fiji_opens_the_objects_as_rois(locked_server: Any, pixels: Pixels, tmp_path: Path):
    stack = tmp_path / "stack.tif"
    stack.write_bytes(tiff(np.stack([pixels, pixels[::-1]]), imagej=True, metadata={"axes": "ZYX"}))
    driver = Path(__file__).parent / "clients/imagej_run.groovy"
    command = ["xvfb-run", "-a", "groovy", "-cp", str(IMAGEJ), str(driver), str(stack)]
    settings = {"SEGMENT_URL": locked_server.url, "SEGMENT_KEY": "first", "SEGMENT_QUERY": "min_area=20"}
    done = subprocess.run(
        [*command, str(SCRIPTS / "fiji_segment.groovy")],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=240,
    )
    found = [tuple(map(int, map(float, line.split()))) for line in done.stdout.splitlines()]
    answer = HTTP.post(
        f"{locked_server.url}/segment",
        params={"output": "rois", "min_area": 20},
        headers={"X-API-Key": "first"},
        files={"file": stack.read_bytes()},
    )
    rois = tmp_path / "rois.zip"
    rois.write_bytes(answer.content)
    read = roiread(rois)
    assert isinstance(read, list)
    expected = [(roi.position, roi.left, roi.top) for roi in read]
    assert [(position, x, y) for position, _, x, y in found] == expected, done.stderr
    assert {position for position, *_ in expected} == {1, 2}
