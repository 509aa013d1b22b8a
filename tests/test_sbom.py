from importlib import metadata

import pytest

from requirements.sbom import Json, cut, pins, vendored


def component(name: str, version: str, *licences: str) -> Json:
    found = {"name": name, "version": version, "bom-ref": f"{name}=={version}"}
    return found | ({"licenses": [{"license": {"id": licence}} for licence in licences]} if licences else {})


@pytest.fixture
def bill() -> Json:
    """Of an environment with one package more than is pinned."""
    return {
        "metadata": {"component": {"bom-ref": "root-component"}},
        "components": [
            component("torch", "2.0.0+cpu", "BSD-3-Clause"),
            component("pycocotools", "2.0.11"),
            component("pytest", "9.0.0", "MIT"),
        ],
        "dependencies": [
            {"ref": "root-component", "dependsOn": ["torch==2.0.0+cpu", "pytest==9.0.0"]},
            {"ref": "pytest==9.0.0"},
            {"ref": "torch==2.0.0+cpu"},
        ],
    }


def test_only_what_is_pinned_is_kept(bill: Json):
    kept = cut(bill, {"torch": "2.0.0", "pycocotools": "2.0.11"})
    assert [one["name"] for one in kept["components"]] == ["torch", "pycocotools"]
    assert kept["dependencies"] == [
        {"ref": "root-component", "dependsOn": ["torch==2.0.0+cpu"]},
        {"ref": "torch==2.0.0+cpu", "dependsOn": []},
    ]


def test_each_has_a_licence_even_where_it_is_free_text(bill: Json):
    kept = cut(bill, {"torch": "2.0.0", "pycocotools": "2.0.11"})
    text = metadata.metadata("pycocotools")["License"]
    assert [one["licenses"] for one in kept["components"]] == [
        [{"license": {"id": "BSD-3-Clause"}}],
        [{"license": {"name": text}}],
    ]


@pytest.mark.parametrize("pinned", [{"torch": "2.0.1"}, {"absent": "1.0"}])
def test_an_environment_of_other_versions_is_refused(bill: Json, pinned: dict[str, str]):
    with pytest.raises(SystemExit, match=f"not installed as the lock pins them: {next(iter(pinned))}"):
        cut(bill, pinned)


def test_torch_is_pinned_beside_every_lock():
    assert all("torch" in pins(lock) for lock in ("serve", "train", "dev"))
    assert pins("serve").items() <= pins("train").items() <= pins("dev").items()


def test_vendored_libraries_are_listed_with_their_licences():
    assert [(one["name"], one["licenses"][0]["license"]["name"]) for one in vendored()] == [
        ("UTIF.js", "MIT"),
        ("fflate", "MIT"),
        ("uuid", "MIT"),
    ]
