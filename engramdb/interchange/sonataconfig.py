"""The configuration of a SONATA network: which files there are, what they mean, where components lie.

Format: https://github.com/AllenInstitute/sonata, version 0.1; Dai et al. 2020, PLoS Comput Biol 16(2):e1007696.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engramdb.errors import InvalidInput, NotFound

_NAMES = ("config.json", "circuit_config.json")
_NOTHING = ("", "NULL", "None", "nan")

Row = dict[str, str]


@dataclass(frozen=True)
class Input:
    """Spikes that the simulation of the example plays: ``file`` to ``population``."""

    name: str
    file: Path
    population: str


class SonataConfig:
    """A network's configuration: a file (config.json, circuit_config.json, a simulation's), or the folder it lies in.

    Raises NotFound for files that are missing, InvalidInput for what cannot be read.
    """

    def __init__(self, path: Path, components: Path | None = None) -> None:
        self.path = _config_file(path).resolve()
        self.components = components
        self._folders: dict[str, str] = {}
        self._circuit: dict[str, Any] = {}
        self._simulation: dict[str, Any] = {}
        for name, folder in self._read(self.path):
            self._folders |= _manifest(name.get("manifest", {}), folder)
            if "networks" in name:
                self._circuit = name
            if "run" in name or "inputs" in name:
                self._simulation = name
        if not self._circuit.get("networks", {}).get("nodes"):
            raise InvalidInput(f"{self.path} names no networks: give config.json or circuit_config.json of the network")

    def _read(self, path: Path) -> Iterator[tuple[dict[str, Any], Path]]:
        """The document, and those that it names."""
        document = read_json(path)
        if "network" in document or "simulation" in document:
            for part in ("network", "simulation"):
                if part in document:
                    yield from self._read(path.parent / str(document[part]).replace("${configdir}", "."))
        yield document, path.parent

    def resolve(self, text: str) -> Path:
        """A path in the configuration, its variables filled in."""
        for _ in range(8):  # variables may hold variables
            before = text
            for name in sorted(self._folders, key=len, reverse=True):
                text = text.replace(name, self._folders[name])
            if text == before:
                break
        path = Path(text)
        return path if path.is_absolute() else self.path.parent / path

    def files(self, kind: str) -> list[tuple[Path, Path | None]]:
        """``(file, table of types or None)`` of "nodes" or "edges"."""
        found = []
        for entry in self._circuit["networks"].get(kind, []):
            file = self.resolve(entry[f"{kind}_file"])
            types = entry.get(f"{kind[:-1]}_types_file")
            found.append((file, self.resolve(types) if types not in (None, *_NOTHING) else None))
        for file in (path for pair in found for path in pair if path is not None):
            if not file.is_file():
                raise NotFound(f"{self.path} names {file}, which does not exist")
        return found

    @property
    def dt_ms(self) -> float | None:
        """The time step of the simulation, if the configuration has one."""
        dt = self._simulation.get("run", {}).get("dt")
        return None if dt is None else float(dt)

    def component(self, kind: str, name: str) -> dict[str, Any]:
        """A file of parameters, such as ``point_neuron_models_dir`` has them. NotFound says how to give it."""
        folders = [] if self.components is None else [self.components, *self.components.glob("*/")]
        if (given := self._circuit.get("components", {}).get(kind)) is not None:
            folders.append(self.resolve(given))
        for folder in folders:
            if (folder / name).is_file():
                return read_json(folder / name)
        where = ", ".join(map(str, folders)) or "the configuration, which names no folder for it"
        raise NotFound(f"{name} ({kind} of {self.path.name}) is not in {where}; components= names a folder that has it")

    def inputs(self) -> tuple[Input, ...]:
        """Spike files that the simulation plays."""
        sets: dict[str, Any] = {}
        file = self._simulation.get("node_sets_file", self._circuit.get("node_sets_file"))
        if file is not None and self.resolve(file).is_file():
            sets = read_json(self.resolve(file))
        found = []
        for name, given in self._simulation.get("inputs", {}).items():
            if given.get("input_type") != "spikes" or "input_file" not in given:
                continue
            node_set = given.get("node_set", "")
            named = sets.get(node_set, node_set) if isinstance(node_set, str) else node_set
            population = named.get("population", "") if isinstance(named, Mapping) else str(named)
            found.append(Input(name, self.resolve(given["input_file"]), str(population)))
        return tuple(found)


def read_types(path: Path | None, key: str) -> dict[int, Row]:
    """A table of node or edge types by id, separated by blanks; what is NULL is left out."""
    if path is None:
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as source:
            rows = list(csv.DictReader(source, delimiter=" ", skipinitialspace=True))
        return {
            int(row[key]): {name: value for name, value in row.items() if name and value not in (None, *_NOTHING)}
            for row in rows
        }
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise InvalidInput(f"{path} is no table of types with a column {key}: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; NotFound, or InvalidInput where it is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} is no JSON object")
    return document


def _config_file(path: Path) -> Path:
    if not path.exists():
        raise NotFound(f"{path}: there is no such file or folder")
    if not path.is_dir():
        return path
    for name in _NAMES:
        if (path / name).is_file():
            return path / name
    raise NotFound(f"{path} has no {' or '.join(_NAMES)}: name the configuration of the network itself")


def _manifest(manifest: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Variables with their values; relative ones are relative to the file that has them."""
    found = {"${configdir}": str(folder), "$configdir": str(folder)}
    for name, value in manifest.items():
        text = str(value)
        plain = text.startswith(("/", "$"))
        found[name] = text if plain else str(folder / text)
    return found
