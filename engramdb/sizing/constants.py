"""What a byte and a nanosecond come to on a machine: constants of the estimates, shipped or measured here."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from engramdb.errors import InvalidInput

VERSION = 2
_SHIPPED = "sizing.json"


@dataclass(frozen=True)
class Constants:
    """Measured by ``engramdb estimate --calibrate``; nanoseconds are processor time of one thread.

    Disk, in bytes: ``disk_base`` of an engram with nothing in it; ``target_factor`` and ``target_head`` by wiring, what
    a row's targets take as a multiple of their entropy, and beside it; ``weight_bytes`` by type, of a weight drawn
    evenly; ``vector_bytes`` by type, of a weight of a receptive vector; ``record_bytes`` of the counts of a neuron that
    fired; ``charged_bytes`` by model, of one that is not at rest; ``void_bytes`` of a void neuron's; ``history_bytes``
    of a spike that a pair may still be closed with, and ``trace_bytes`` of a synapse's eligibility.

    RAM, in bytes: ``process_bytes``, the program with its libraries and kernels; ``resident_factor``, what the system
    counts for each byte that the budget counts. All else is counted, not measured.

    Time, in ns: of a tick in which little happens, ``burst_ns`` where many are run in one call, ``call_ns`` elsewhere,
    ``learning_call_ns`` where rows learn, ``dense_call_ns`` of a forward pass; ``sweep_ns`` by model, of a slot awake;
    ``sizes``, slots, with ``train_ns``, ``input_ns``, ``spike_ns`` and ``event_ns`` at each: of a neuron that has a
    train of input, of an event of it, of a spike, of a synapse that it arrives over, wherever it leads; ``keep_ns`` and
    ``learn_ns`` by learning rule, of a neuron in each tick and of an arrival; ``forward_ns`` and ``backward_ns`` by
    type, of a weight; ``void_ns`` of an active neuron that wakes nobody new, and ``near_ns`` of each other that it
    looks at.
    """

    disk_base: float
    target_factor: dict[str, float]
    target_head: dict[str, float]
    weight_bytes: dict[str, float]
    vector_bytes: dict[str, float]
    record_bytes: float
    charged_bytes: dict[str, float]
    void_bytes: float
    history_bytes: float
    trace_bytes: float
    process_bytes: float
    resident_factor: float
    burst_ns: float
    call_ns: float
    learning_call_ns: float
    dense_call_ns: float
    sweep_ns: dict[str, float]
    sizes: list[float]
    train_ns: list[float]
    input_ns: list[float]
    spike_ns: list[float]
    event_ns: list[float]
    learn_ns: dict[str, float]
    keep_ns: dict[str, float]
    forward_ns: dict[str, float]
    backward_ns: dict[str, float]
    void_ns: float
    near_ns: float
    machine: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"version": VERSION, **asdict(self)}

    def save(self, path: Path) -> None:
        """Write them to ``path``, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8")
        aside.replace(path)


def kept_at() -> Path:
    """Where the constants of this user's machine are kept: ``sizing.json`` in the system's folder for settings."""
    if sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support"
    else:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return folder / "engramdb" / "sizing.json"


def shipped() -> Constants:
    """Those that come with the package."""
    return _read((files("engramdb") / "data" / _SHIPPED).read_text(encoding="utf-8"), _SHIPPED)


def load() -> tuple[Constants, str]:
    """This machine's constants where it was calibrated, else the shipped ones; and which, in words."""
    path = kept_at()
    if path.is_file():
        return _read(path.read_text(encoding="utf-8"), str(path)), f"measured on this machine ({path})"
    return shipped(), "as shipped; engramdb estimate --calibrate measures this machine's"


def _read(text: str, where: str) -> Constants:
    again = "measure them again with engramdb estimate --calibrate"
    try:
        content = json.loads(text)
        if content.pop("version") != VERSION:
            raise InvalidInput(f"{where}: these constants are of another version; {again}")
        return Constants(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        names = ", ".join(field.name for field in fields(Constants))
        raise InvalidInput(f"{where}: no constants of estimates ({error}); expected {names}; {again}") from None
