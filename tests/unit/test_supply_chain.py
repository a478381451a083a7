"""What an installation is made of: a short list that is known, pinned by hash, and imports nothing else."""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name
from tools.sbom import REQUIREMENTS, bill, hashes, main, tree

ROOT = Path(__file__).parents[2]

RUN_TIME = {
    "ccflare": ["brotli", "click", "cryptography", "httptools", "msgspec", "starlette", "uvloop", "zstandard"],
    "anyio": ["idna", "typing-extensions"],
    "brotli": [],
    "cffi": ["pycparser"],
    "click": [],
    "cryptography": ["cffi"],
    "httptools": [],
    "idna": [],
    "msgspec": [],
    "pycparser": [],
    "starlette": ["anyio", "typing-extensions"],
    "typing-extensions": [],
    "uvloop": [],
    "zstandard": [],
}
"""Everything that a plain installation brings, on CPython below 3.13 and Linux or macOS. A new line needs a reason."""

ONLY_IF_THERE = {"sniffio"}
"""What those packages import where something else has brought it."""

FILES = sorted((ROOT / "requirements").glob("*.txt"))
_LINE = re.compile(r"[a-z0-9][a-z0-9._-]*==[A-Za-z0-9.+!]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="typing-extensions is not needed there")
def test_the_run_time_packages_are_a_known_list() -> None:
    """A plain installation brings these packages and no other, each because of those that are written here."""
    found = tree()
    for name, needed in found.items():
        print(f"{name}: {', '.join(needed) or 'nothing'}")  # noqa: T201  # the tree, for who runs this with -s
    assert found == RUN_TIME


@pytest.mark.parametrize("module", ["ccflare.serve", "ccflare.supervisor", "ccflare.cli"])
def test_no_other_package_is_imported(module: str) -> None:
    """What serves and what is typed imports the standard library and the known packages, whatever else is installed."""
    code = f"import sys; before = set(sys.modules); import {module}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = importlib.metadata.packages_distributions()
    foreign = {name.partition(".")[0] for name in done.stdout.split()} - sys.stdlib_module_names
    known = {canonicalize_name(each) for name in foreign for each in packages.get(name, ())}
    assert known - ONLY_IF_THERE <= RUN_TIME.keys()
    assert "ccflare" in known | foreign


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_requirement_is_pinned_by_hash_and_names_no_host(path: Path) -> None:
    """Each line is a version, or a SHA-256 of a file of it; every version has one; no address, option or path."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#") and not _LINE.fullmatch(line)] == []
    pinned = hashes(path.read_text(encoding="utf-8"))
    assert len(pinned) == sum("==" in line for line in lines)
    assert [name for name, (_, digests) in pinned.items() if not digests] == []


def test_every_list_of_requirements_is_made_by_make_lock() -> None:
    """Each file has its source, and `make lock` renews each."""
    [line] = re.findall(
        r"for name in ([a-z0-9 ]+); do \\\n\t  \$\(BIN\)/pip-compile", (ROOT / "Makefile").read_text("utf-8")
    )
    assert sorted(line.split()) == [path.stem for path in FILES]
    assert all(path.with_suffix(".in").exists() for path in FILES)


def test_the_run_time_packages_are_pinned() -> None:
    """What is installed by default is in `requirements/run.txt`, down to the last package."""
    pinned = hashes(REQUIREMENTS.read_text(encoding="utf-8"))
    assert RUN_TIME.keys() - {"ccflare"} <= pinned.keys()


def test_the_bill_of_materials_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CycloneDX 1.6: each package once, with version, address, licence, hashes and what it needs; always the same."""
    assert main([str(tmp_path)]) == 0
    [path] = tmp_path.iterdir()
    assert path.name in capsys.readouterr().out
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", document["serialNumber"])
    components = {component["name"]: component for component in document["components"]}
    assert components.keys() == tree().keys() - {"ccflare"}
    for name, component in components.items():
        assert component["purl"] == component["bom-ref"] == f"pkg:pypi/{name}@{component['version']}"
        assert component["version"] == importlib.metadata.version(name)
        assert component["licenses"], name
        assert {len(each["content"]) for each in component["hashes"]} == {64}, name
    refs = {document["metadata"]["component"]["bom-ref"], *(each["bom-ref"] for each in document["components"])}
    assert {each["ref"] for each in document["dependencies"]} == refs
    assert {ref for each in document["dependencies"] for ref in each["dependsOn"]} <= refs
    assert document == bill(tree(), hashes(REQUIREMENTS.read_text(encoding="utf-8")))


def test_a_bill_is_not_made_of_what_is_not_pinned() -> None:
    """An installation that differs from the requirements is refused instead of described."""
    with pytest.raises(ValueError, match="is installed, 0 is required"):
        bill({"ccflare": ["click"], "click": []}, {"click": ("0", [])})
