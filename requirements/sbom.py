"""Cut the bill of materials of an environment down to what one of its locks and torch bring, and add what is vendored.

    cyclonedx-py environment .venv/bin/python ... | .venv/bin/python requirements/sbom.py serve > dist/sbom.cdx.json

One ``.venv`` serves all three locks, so it holds more than the service does. cyclonedx-py does not find
licences that are only in the old free-text field; this script does. Run by the environment's own Python.
"""

import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).parents[1]
VENDORED = ROOT / "app/static/vendor/README.md"

Json: TypeAlias = dict[str, Any]


def main() -> None:
    """Read the environment's bill from stdin, write the lock's to stdout."""
    bill = cut(json.load(sys.stdin), pins(sys.argv[1]))
    bill["components"] += vendored() if sys.argv[1] == "serve" else []
    json.dump(bill, sys.stdout, indent=1)
    print()


def pins(lock: str) -> dict[str, str]:
    """Name to version of what a lock pins, and torch."""
    text = "".join((ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8") for name in (lock, "torch"))
    return {canonical(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, flags=re.MULTILINE)}


def cut(bill: Json, pinned: dict[str, str]) -> Json:
    """The components that are pinned, each with a licence, and what depends on what among them.

    Leaves with a message if one is missing or of another version than its pin.
    """
    found = [component for component in bill["components"] if canonical(component["name"]) in pinned]
    versions = {canonical(component["name"]): component["version"].split("+")[0] for component in found}
    wrong = sorted(name for name, version in pinned.items() if versions.get(name) != version)
    if wrong:
        sys.exit(f"sbom: not installed as the lock pins them: {', '.join(wrong)}")
    kept = {component["bom-ref"] for component in found} | {bill["metadata"]["component"]["bom-ref"]}
    return bill | {
        "components": [component | {"licenses": licences(component)} for component in found],
        "dependencies": [_among(kept, entry) for entry in bill["dependencies"] if entry["ref"] in kept],
    }


def _among(kept: set[str], entry: Json) -> Json:
    return entry | {"dependsOn": [ref for ref in entry.get("dependsOn", []) if ref in kept]}


def licences(component: Json) -> list[Json]:
    """Returns the licences that cyclonedx-py found, else the first line of the package's field ``License``."""
    given = str(metadata.metadata(component["name"]).json.get("license", "")).strip().split("\n")[0]
    return component.get("licenses") or [{"license": {"name": given or "not declared"}}]


def vendored() -> list[Json]:
    """Lists the page's libraries, from the table in their folder."""
    rows = re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\)[^|]*\| ([\d.]+) \| ([^|]+) \|", VENDORED.read_text(), re.MULTILINE)
    return [
        {
            "type": "library",
            "bom-ref": f"vendored:{name}=={version}",
            "name": name,
            "version": version,
            "licenses": [{"license": {"name": licence}}],
            "externalReferences": [{"type": "vcs", "url": url}],
        }
        for name, url, version, licence in rows
    ]


def canonical(name: str) -> str:
    """Normalises a package's name as PEP 503 does."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
