"""Writes the pinned constraints: `make pins`.

For every supported Python, pip is asked what it would install (nothing is installed); the answers are merged into one
file with environment markers where versions differ. A Python that is not on this machine is resolved by pip from the
wheels published for it, with the newest Python at hand.

    python .ci/pin.py constraints.txt               every dependency and extra of pyproject.toml
    python .ci/pin.py constraints-peers.txt brian2 cython      the named packages
    python .ci/pin.py --where-it-is constraints-nest.txt nest-simulator     a Python that has no wheel is left out
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def wanted() -> list[str]:
    """Every requirement that pyproject.toml names, extras and the build's included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = chain.from_iterable(project["project"]["optional-dependencies"].values())
    return sorted({*project["build-system"]["requires"], *project["project"]["dependencies"], *extras})


def interpreters() -> dict[str, str]:
    """Supported version -> path, of those on this machine."""
    found = subprocess.run([str(ROOT / ".ci/find-python"), "--all"], check=True, capture_output=True, text=True).stdout
    return dict(line.split(" ", 1) for line in found.splitlines())


def resolve(python: str, version: str | None, requirements: Iterable[str]) -> dict[str, str]:
    """Name -> version as pip would install them with `python`, or with the absent Python `version`."""
    with tempfile.TemporaryDirectory() as folder:
        report, target = Path(folder, "report.json"), Path(folder, "target")
        absent = ["--python-version", version, "--target", str(target)] if version else []
        command = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--only-binary=:all:", "--report", str(report), *absent, *requirements]
        subprocess.run(command, check=True)
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {i["metadata"]["name"].lower().replace("_", "-"): i["metadata"]["version"] for i in installs}


def merge(resolved: Mapping[str, Mapping[str, str]]) -> list[str]:
    """One line a package, or one a stretch of Python versions where its version changes.

    A Python that does not need a package does not split it: a constraint installs nothing by itself.
    """
    lines = []
    for name in sorted(set().union(*resolved.values())):
        stretches: list[tuple[str, str]] = []  # (first Python, version of the package)
        for python in SUPPORTED:
            version = resolved[python].get(name)
            if version is not None and (not stretches or stretches[-1][1] != version):
                stretches.append((python, version))
        for i, (first, version) in enumerate(stretches):
            bounds = [f'python_version >= "{first}"'] if i else []
            bounds += [f'python_version < "{stretches[i + 1][0]}"'] if i + 1 < len(stretches) else []
            lines.append(f"{name}=={version}" + (" ; " + " and ".join(bounds) if bounds else ""))
    return lines


def main(*arguments: str) -> None:
    """Write the file for the named requirements, or for those of pyproject.toml."""
    some = arguments[0] == "--where-it-is"
    file, *named = arguments[some:]
    requirements = named or wanted()
    found = interpreters()
    newest = found[max(found, key=SUPPORTED.index)]
    resolved: dict[str, dict[str, str]] = {}
    for version in SUPPORTED:
        try:
            resolved[version] = resolve(found.get(version, newest), None if version in found else version, requirements)
        except subprocess.CalledProcessError:
            if not some:
                raise
            resolved[version] = {}
    head = "# Exact versions for Python 3.11 to 3.14. Written by `make pins`; do not edit."
    Path(ROOT, file).write_text("\n".join([head, *merge(resolved)]) + "\n", encoding="utf-8")
    print(f"{file}: {len(merge(resolved))} pins, resolved with {', '.join(found)} and for the others from their wheels")


if __name__ == "__main__":
    main(*sys.argv[1:])
