"""The bill of materials of a release: CycloneDX JSON, made of what is installed and of the hashed requirements.

`make sbom` writes it beside the wheel. It holds the run-time packages of the core and nothing else: what a plain
`pip install ccflare` brings. The same installation gives the same bytes.
"""

import json
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements" / "run.txt"
NAMESPACE = uuid.UUID("6f1d3c0e-5b0a-4c55-9d8e-0f6a2f3a9c11")

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def tree(name: str = "ccflare") -> dict[str, list[str]]:
    """Return the packages that a plain installation has on this system, each with those that it needs itself."""
    found: dict[str, list[str]] = {}
    todo = [name]
    while todo:
        package = canonicalize_name(todo.pop())
        if package not in found:
            found[package] = sorted(_needed(distribution(package)))
            todo += found[package]
    return found


def _needed(package: Distribution) -> Iterator[str]:
    for line in package.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def hashes(requirements: str) -> dict[str, tuple[str, list[str]]]:
    """Return version and hashes of each package of a requirements file."""
    parts = re.split(r"^(?=[A-Za-z0-9])", requirements, flags=re.MULTILINE)
    pinned = [(pin, part) for part in parts if (pin := _PIN.match(part))]
    return {canonicalize_name(pin[1]): (pin[2], _HASH.findall(part)) for pin, part in pinned}


def bill(needs: Mapping[str, list[str]], pinned: Mapping[str, tuple[str, list[str]]]) -> dict[str, Any]:
    """Return the document."""
    components = [_component(distribution(name), pinned) for name in sorted(needs) if name != "ccflare"]
    main = _component(distribution("ccflare"), {}) | {"type": "application"}
    content = json.dumps([main, components], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, content)}",
        "version": 1,
        "metadata": {"component": main},
        "components": components,
        "dependencies": [
            {"ref": _ref(distribution(name)), "dependsOn": [_ref(distribution(each)) for each in needed]}
            for name, needed in sorted(needs.items())
        ],
    }


def _component(package: Distribution, pinned: Mapping[str, tuple[str, list[str]]]) -> dict[str, Any]:
    name = canonicalize_name(package.metadata["Name"])
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": _ref(package),
        "name": name,
        "version": package.version,
        "purl": _ref(package),
    }
    if summary := _said(package, "Summary"):
        found["description"] = summary
    if licence := _said(package, "License-Expression"):
        found["licenses"] = [{"expression": licence}]
    elif licence := _said(package, "License") or _classified(package):
        found["licenses"] = [{"license": {"name": licence.splitlines()[0]}}]
    if name in pinned:
        version, digests = pinned[name]
        if version != package.version:
            raise ValueError(f"{name} {package.version} is installed, {version} is required")
        found["hashes"] = [{"alg": "SHA-256", "content": digest} for digest in digests]
    return found


def _said(package: Distribution, field: str) -> str:
    return str(package.metadata[field]) if field in package.metadata else ""


def _classified(package: Distribution) -> str:
    classifiers = package.metadata.get_all("Classifier") or []
    return next((each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::")), "")


def _ref(package: Distribution) -> str:
    return f"pkg:pypi/{canonicalize_name(package.metadata['Name'])}@{package.version}"


def main(arguments: list[str]) -> int:
    """Write the document to the directory that is named, and say where."""
    document = bill(tree(), hashes(REQUIREMENTS.read_text(encoding="utf-8")))
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"ccflare-{document['metadata']['component']['version']}.cdx.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path}: {len(document['components'])} packages\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
