import hashlib
import zipfile

import pytest

from model.errors import WeightsError
from model.packages.package_zip import PackageZip


@pytest.fixture
def zipped(tmp_path):
    def make(**members):
        path = tmp_path / "package.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
            for name, data in members.items():
                package.writestr(name.replace("_", ".", 1), data)
        return path

    return make


def _fails(path, read):
    with pytest.raises(WeightsError) as caught, PackageZip.open(path) as package:
        read(package)
    return str(caught.value).removeprefix(f"weights {path}: ")


def test_the_sha256_is_that_of_the_whole_file(zipped):
    path = zipped(rdf_yaml=b"name: a")
    with PackageZip.open(path) as package:
        assert package.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert package.description() == b"name: a"


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "https://example.org/weights.onnx"])
def test_only_members_are_read_whatever_the_description_names(zipped, name):
    message = _fails(zipped(rdf_yaml=b""), lambda package: package.source("weights.onnx.source", name, None))
    assert message == f"weights.onnx.source: {name} is not in the package; only its files are read"


def test_a_source_with_another_sha256_is_refused(zipped):
    path = zipped(net_onnx=b"other bytes")
    message = _fails(path, lambda package: package.source("weights.onnx.source", "./net.onnx", "0" * 64))
    assert message == "weights.onnx.source: ./net.onnx does not have the sha256 of the description"


def test_a_link_in_a_package_is_only_its_bytes(tmp_path):
    path = tmp_path / "package.zip"
    link = zipfile.ZipInfo("net.onnx")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as package:
        package.writestr(link, "/etc/hostname")
    with PackageZip.open(path) as package:
        assert package.source("", "net.onnx", None) == b"/etc/hostname"


def test_a_huge_description_is_not_unpacked(zipped):
    assert "rdf.yaml in it would grow" in _fails(zipped(rdf_yaml=bytes(10_000_000)), PackageZip.description)


def test_a_package_without_description_is_refused(zipped):
    assert _fails(zipped(a=b""), PackageZip.description) == (
        "a package without weights.safetensors, rdf.yaml or bioimageio.yaml"
    )


def test_a_missing_file_is_named(tmp_path):
    assert _fails(tmp_path / "none.zip", PackageZip.description) == "no such file"
