"""The project itself: what the wheel holds, what an import costs, what the build scripts do on strange machines."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
LINKED = ("kernels", "schemas", "server")


def files_of_the_package() -> dict[str, Path]:
    """Path inside the installed package -> file, symlinked folders included, caches left out."""
    found = {}
    for folder, folders, names in os.walk(ROOT / "engramdb", followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            path = Path(folder, name)
            found[path.relative_to(ROOT).as_posix()] = path
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree as `pip install .` does."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in ("engramdb", *LINKED):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(folder)], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_every_folder_with_modules_is_in_the_packages_list() -> None:
    folders = {
        Path(name).parent.as_posix().replace("/", ".") for name in files_of_the_package() if name.endswith(".py")
    }
    assert sorted(SETUPTOOLS["packages"]) == sorted(folders)


def test_every_package_has_an_init() -> None:
    files = files_of_the_package()
    assert [p for p in SETUPTOOLS["packages"] if p.replace(".", "/") + "/__init__.py" not in files] == []


def test_symlinks_and_package_dir_name_the_same_folders() -> None:
    links = {
        f"engramdb.{path.name}": str(path.readlink()) for path in (ROOT / "engramdb").iterdir() if path.is_symlink()
    }
    assert links == {f"engramdb.{name}": f"../{name}" for name in LINKED}
    mapped = {package: f"../{folder}" for package, folder in SETUPTOOLS["package-dir"].items() if package != "engramdb"}
    assert mapped == links


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")]
    assert sorted(names) == sorted(files_of_the_package())


def test_the_wheel_carries_the_licence_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (licence,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
        assert "Apache License" in archive.read(licence).decode()
        (points,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        assert "engramdb = engramdb.cli:main" in archive.read(points).decode()


def test_every_module_imports_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        modules = sorted(
            name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for name in archive.namelist()
            if name.endswith(".py") and not name.endswith("__main__.py")
        )
    lines = [
        "import importlib, pathlib, sys",
        "for name in sys.argv[2:]:",
        "    module = importlib.import_module(name)",
        "    assert pathlib.Path(module.__file__).is_relative_to(sys.argv[1]), module.__file__",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), str(tmp_path / "site"), *modules],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "heavy",
    [
        "numba",
        "obstore",
        "zarr",
        "numcodecs",
        "h5py",
        "networkx",
        "scipy",
        "xarray",
        "fastapi",
        "pydantic",
        "pyarrow",
        "duckdb",
        "matplotlib",
        "typer",
    ],
)
def test_import_engramdb_loads_no_heavy_library(heavy: str, modules_after_import: set[str]) -> None:
    assert heavy not in modules_after_import


@pytest.fixture(scope="module")
def modules_after_import() -> set[str]:
    code = "import sys, engramdb; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "engramdb" in loaded
    return loaded


def imported_by(*paths: Path) -> set[str]:
    """Top-level names that the modules import, wherever in the file."""
    names = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize(
    ("folder", "libraries"), [("kernels", {"numpy", "numba", "llvmlite"}), ("schemas", {"pydantic"})]
)
def test_kernels_and_schemas_stand_on_few_libraries(folder: str, libraries: set[str]) -> None:
    imported = imported_by(*(ROOT / folder).rglob("*.py")) - sys.stdlib_module_names - {"engramdb"}
    assert imported
    assert imported <= libraries


def undeclared(paths: list[Path], declared: list[str]) -> set[str]:
    """Third-party libraries that the modules import and the requirements do not name."""
    third_party: set[str] = {
        canonicalize_name(name) for name in imported_by(*paths) - sys.stdlib_module_names - {"engramdb"}
    }
    return third_party - {canonicalize_name(Requirement(text).name) for text in declared}


def test_every_library_that_is_imported_is_declared() -> None:
    modules = {name: path for name, path in files_of_the_package().items() if name.endswith(".py")}
    needs, extras = PROJECT["project"]["dependencies"], PROJECT["project"]["optional-dependencies"]
    # engramdb.testing serves the tests of others: it comes with the extra of that name; object stores have their own,
    # and so has the client of the service
    for name, extra in (
        ("engramdb/testing.py", "test"), ("engramdb/store/remote/objects.py", "s3"),
        ("engramdb/client/transport.py", "client"),
    ):  # fmt: skip
        assert undeclared([modules.pop(name)], needs + extras[extra]) == set()
    assert undeclared(list(modules.values()), needs) == set()


def requirements() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    texts = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"], *(r for e in extras for r in e)]
    return [Requirement(text) for text in texts]


def pins(file: str, python: str) -> dict[str, str]:
    """Name -> version that `file` pins for one Python; every line must be one exact version."""
    found: dict[str, str] = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        pin = Requirement(line)
        (exact,) = pin.specifier
        assert exact.operator == "==", line
        assert not pin.url, line
        if pin.marker is None or pin.marker.evaluate({"python_version": python, "python_full_version": python + ".0"}):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} is pinned twice for Python {python}"
            found[name] = exact.version
    return found


@pytest.mark.parametrize("python", SUPPORTED)
def test_constraints_pin_every_requirement_within_its_bounds(python: str) -> None:
    pinned = pins("constraints.txt", python)
    assert [str(r) for r in requirements() if pinned.get(canonicalize_name(r.name), "0") not in r.specifier] == []


def test_constraints_fit_the_running_python() -> None:
    """What `make` installed is what is pinned: the suite never runs on other versions unnoticed."""
    from importlib.metadata import version

    pinned = pins("constraints.txt", f"{sys.version_info.major}.{sys.version_info.minor}")
    names = [canonicalize_name(Requirement(text).name) for text in PROJECT["project"]["dependencies"]]
    assert {name: version(name) for name in names} == {name: pinned[name] for name in names}


@pytest.mark.parametrize("python", SUPPORTED)
def test_the_peers_are_pinned_apart(python: str) -> None:
    assert "brian2" in pins("constraints-peers.txt", python)
    assert "brian2" not in pins("constraints.txt", python)
    assert "nest-simulator" not in pins("constraints.txt", python)
    assert "libsonata" in pins("constraints-sonata.txt", python)
    assert "libsonata" not in pins("constraints.txt", python)


def test_supported_pythons_agree_everywhere() -> None:
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.15"
    named = [c.rsplit(" ", 1)[1] for c in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert tuple(named) == SUPPORTED


def test_build_files_name_no_host_and_no_index() -> None:
    build = [
        ROOT / name for name in ("Makefile", "pyproject.toml", *(path.name for path in ROOT.glob("constraints*.txt")))
    ]
    for path in [*build, *(p for p in (ROOT / ".ci").iterdir() if p.is_file())]:
        assert not re.search(r"https?://|index-url|find-links", path.read_text(encoding="utf-8")), path


# .ci/find-python and .ci/venv, with interpreters that only pretend


def program(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return path


def find_python(bin_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script with nothing but `bin_dir` in PATH (and the real sort)."""
    bin_dir.mkdir(exist_ok=True)
    (bin_dir / "sort").symlink_to(str(shutil.which("sort")))
    return subprocess.run(
        ["/bin/sh", str(ROOT / ".ci/find-python"), *arguments],
        env={"PATH": str(bin_dir), "HOME": str(bin_dir), **environment},
        capture_output=True,
        text=True,
    )


def test_a_shim_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "bin/python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    program(tmp_path / "bin/python3", f'exec "{sys.executable}" "$@"')
    done = find_python(tmp_path / "bin")
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).samefile(sys.executable)


def test_without_a_fit_python_the_message_says_what_was_found_and_what_to_do(tmp_path: Path) -> None:
    program(tmp_path / "bin/python3.13", "exit 127")
    program(tmp_path / "bin/python3.11", "echo '3.11|lacks the standard modules ensurepip|/usr/bin/python3.11'")
    program(tmp_path / "bin/python3", "echo '3.9|too old|/usr/bin/python3'")
    done = find_python(tmp_path / "bin")
    assert (done.returncode, done.stdout) == (1, "")
    assert "EngramDB needs Python 3.11, 3.12, 3.13 or 3.14" in done.stderr
    assert "python3.13 (Python ?): is there but does not run" in done.stderr
    assert "python3.11 (Python 3.11): lacks the standard modules ensurepip" in done.stderr
    assert "python3 (Python 3.9): too old" in done.stderr
    assert "python3.14: not installed" in done.stderr
    assert "apt install python3 python3-venv" in done.stderr


def test_a_named_python_is_the_only_candidate(tmp_path: Path) -> None:
    program(tmp_path / "bin/python3", f'exec "{sys.executable}" "$@"')
    done = find_python(tmp_path / "bin", PYTHON="/no/such/python")
    assert (done.returncode, done.stdout) == (1, "")
    assert "/no/such/python: no such program" in done.stderr


def test_every_version_is_listed_once_pyenv_included(tmp_path: Path) -> None:
    program(tmp_path / "bin/python3.12", "echo '3.12|ok|/a/python3.12'")
    program(tmp_path / "bin/python3", "echo '3.12|ok|/b/python3'")
    program(tmp_path / "bin/.pyenv/versions/3.11.9/bin/python", "echo '3.11|ok|/c/python'")
    program(tmp_path / "bin/.pyenv/versions/3.10.9/bin/python", "echo '3.10|too old|/d/python'")
    done = find_python(tmp_path / "bin", "--all")
    assert done.stdout.splitlines() == ["3.11 /c/python", "3.12 /a/python3.12"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose .venv has a Python that only writes down what it is asked."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    program(tmp_path / ".venv/bin/python", 'case "$1" in -m) echo "$*" >>asked;; -c) echo 3.12;; esac')
    return tmp_path


def installs(checkout: Path, *arguments: str, **environment: str) -> list[str]:
    """Run .ci/venv; the pip commands it gave."""
    (checkout / "asked").write_text("")
    command = ["/bin/sh", ".ci/venv", ".venv", *arguments]
    # `make PYTHON=... test` sets it for the suite too
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    subprocess.run(command, cwd=checkout, env={**inherited, **environment}, check=True, capture_output=True)
    return [line for line in (checkout / "asked").read_text().splitlines() if " install " in line]


def test_an_environment_is_completed_once_and_then_left_alone(checkout: Path) -> None:
    first = installs(checkout, "test")
    assert first[-1].endswith("-c constraints.txt --no-build-isolation -e .[test]")
    assert installs(checkout, "test") == []
    assert installs(checkout) == []
    assert installs(checkout, "lint")[-1].endswith(".[lint]")


def test_a_changed_pin_is_followed(checkout: Path) -> None:
    installs(checkout, "test")
    with (checkout / "constraints.txt").open("a") as file:
        file.write("another==1.0\n")
    assert installs(checkout, "test") != []


def test_another_python_than_the_one_in_the_environment_is_refused(checkout: Path) -> None:
    installs(checkout, "test")
    other = program(checkout / "python3.13", "echo 3.13")
    done = subprocess.run(
        ["/bin/sh", ".ci/venv", ".venv", "test"],
        cwd=checkout,
        env={**os.environ, "PYTHON": str(other)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f".venv holds Python 3.12 but PYTHON={other} is 3.13: remove .venv first" in done.stderr
