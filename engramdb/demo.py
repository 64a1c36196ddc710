"""The demo: a worm's connectome is imported, touched, cut, and restored. No word of output; the command line has those.

::

    demo = Demo(Path("demo-out"))
    demo.import_connectome()
    whole = demo.touch()
    cut = demo.cut()
    restored = demo.restore(whole)
    demo.draw(whole, cut)

What is assumed because the connectome does not say it, is in ``ASSUMPTIONS``.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import engramdb
from engramdb.address import IdArray
from engramdb.errors import AlreadyExists, EngramError

if TYPE_CHECKING:
    from engramdb.engram import Engram
    from engramdb.interchange.edges import ImportReport
    from engramdb.store import Report

Spikes = tuple[npt.NDArray[np.int64], IdArray]

MV_PER_SECTION = 0.5
DRIVE_MV = 4.0
TICKS = 400
_MIDDLE = 100  # inside the first touch: the mid-touch snapshot has input, charged neurons and spikes under way


@dataclass(frozen=True)
class Touch:
    """A touch on one part of the body: the neurons that feel it, and ticks ``first`` .. ``first + duration - 1``."""

    where: str
    neurons: tuple[str, ...]
    first: int
    duration: int = 100


TOUCHES = (Touch("head", ("ALML", "ALMR", "AVM"), first=51), Touch("tail", ("PLML", "PLMR"), first=251))


@dataclass(frozen=True)
class CellClass:
    """Cells of one class. ``pattern`` is what their names match."""

    name: str
    role: str
    pattern: str


# White et al. 1986 for the classes; what they drive: Chalfie et al. 1985.
COMMAND = (
    CellClass("PVC", "command, forward", "PVC[LR]"),
    CellClass("AVB", "command, forward", "AVB[LR]"),
    CellClass("AVD", "command, backward", "AVD[LR]"),
    CellClass("AVA", "command, backward", "AVA[LR]"),
    CellClass("AVE", "command, backward", "AVE[LR]"),
)
MOTOR = (
    CellClass("VB", "motor, forward", r"VB\d+"),
    CellClass("DB", "motor, forward", r"DB\d+"),
    CellClass("VA", "motor, backward", r"VA\d+"),
    CellClass("DA", "motor, backward", r"DA\d+"),
    CellClass("AS", "motor, dorsal", r"AS\d+"),
    CellClass("VD", "motor, inhibits", r"VD\d+"),
    CellClass("DD", "motor, inhibits", r"DD\d+"),
)

# 24 of the 26 GABA neurons (McIntire et al. 1993). The other two, AVL and DVB, excite the gut's muscles.
INHIBITORY = r"DD\d+|VD\d+|RME[DVLR]|RIS"

ASSUMPTIONS = (
    f"strength: {MV_PER_SECTION:g} mV for each section of a contact, chosen so that a touch spreads and then ends",
    "sign: the GABA neurons DD, VD, RME and RIS inhibit (McIntire et al. 1993), all other cells excite",
    "gap junctions, half of the touch circuit, are left out",
    "every cell, muscles too, is the same leaky integrate-and-fire point; most neurons of the worm do not spike",
)

GROUPS = ("sensory neurons", "interneurons", "motor neurons", "pharynx", "muscles, others")
_GROUP_OF = {"SENSORY NEURONS": 0, "INTERNEURONS": 1, "MOTOR NEURONS": 2, "PHARYNX": 3}
_EGG_LAYING_MOTOR = re.compile(r"VC\d+|HSN[LR]")  # the table puts them with the sex organs


@dataclass(frozen=True)
class Reply:
    """How a class answered a touch: ``cells`` fired, ``spikes`` in all, the first after ``latency_ms``."""

    cells: int
    spikes: int
    latency_ms: float | None


@dataclass(frozen=True)
class Experiment:
    """One run with both touches. ``replies[c][t]``: of class ``c`` of ``COMMAND + MOTOR`` to touch ``t``."""

    spikes: Spikes
    replies: tuple[tuple[Reply, ...], ...]
    silent_after_ms: tuple[float | None, ...]
    elapsed: float

    @property
    def digest(self) -> str:
        return digest(self.spikes)


@dataclass(frozen=True)
class Cut:
    """The run in which ``synapses`` had no weight."""

    synapses: int
    experiment: Experiment


@dataclass(frozen=True)
class Restored:
    """Runs from two snapshots. ``charged`` and ``in_flight``: what the one taken in the middle of a touch had."""

    from_rest: Spikes
    from_middle: Spikes
    middle_tick: int
    charged: int
    in_flight: int
    identical: bool


class Demo:
    """The demo in ``folder``, which it makes, or takes over from a former demo.

    Raises :class:`AlreadyExists` where the folder holds anything else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engram = folder / "celegans.engram"
        self.table = folder / "connectome.csv"
        self.picture = folder / "raster.png"
        self.spikes = folder / "spikes.parquet"
        self.report = folder / "demo.json"
        self._take_folder()

    def _take_folder(self) -> None:
        if self.folder.exists() or self.folder.is_symlink():
            if not self.folder.is_dir():
                raise AlreadyExists(f"{self.folder} is a file; choose another folder with --out")
            strangers = sorted(path.name for path in self.folder.iterdir())
            if strangers and not self.report.is_file():
                raise AlreadyExists(
                    f"{self.folder} is no former demo's: it has {strangers[0]}; choose another folder with --out"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_report({})  # from here on the folder is known as a demo's, also when this is cut off
        shutil.rmtree(self.engram, ignore_errors=True)
        for path in (self.table, self.picture, self.spikes):
            path.unlink(missing_ok=True)

    def write_report(self, document: dict[str, Any]) -> None:
        """Leave what happened in ``demo.json``, which also marks the folder as a demo's."""
        content = {"made_by": "engramdb demo", **document}
        self.report.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    # ---- the steps, in order

    def import_connectome(self) -> ImportReport:
        """Write the bundled table with a column of signs, and make an engram of its chemical synapses."""
        inhibits = re.compile(INHIBITORY)
        with _rows("connectome.csv") as rows, self.table.open("w", newline="", encoding="utf-8") as signed:
            write = csv.writer(signed, lineterminator="\n")
            write.writerow(("pre", "post", "weight", "sign", "kind"))
            for row in rows:
                sign = -1 if row["kind"] == "chemical" and inhibits.fullmatch(row["pre"]) else 1
                write.writerow((row["pre"], row["post"], row["weight"], sign, row["kind"]))
        return engramdb.import_edges(
            self.table, self.engram, where="kind=chemical", weight_scale=MV_PER_SECTION, layer="cells"
        )

    def touch(self) -> Experiment:
        """From rest: touch the head, then the tail. Leaves the snapshots ``at-rest`` and ``mid-touch``."""
        with engramdb.open(self.engram, "r+") as engram:
            engram.snapshot("at-rest")
            self._stimulate(engram)
            first = engram.run(_MIDDLE, record=("spikes",))
            engram.snapshot("mid-touch")
            second = engram.run(TICKS - _MIDDLE, record=("spikes",))
        tick, ids = (np.concatenate(pair) for pair in zip(first.spikes, second.spikes, strict=True))
        return self._experiment((tick, ids), first.elapsed + second.elapsed)

    def cut(self) -> Cut:
        """From rest again, with no weight in the synapses from touch neurons to command interneurons."""
        with engramdb.open(self.engram, "r+") as engram:
            engram.restore("at-rest")
            pre, post = self._touch_to_command(engram)
            engram.set_weight(pre, post, 0.0)
            self._stimulate(engram)
            run = engram.run(TICKS, record=("spikes",))
            engram.snapshot("cut")
        return Cut(len(pre), self._experiment(run.spikes, run.elapsed))

    def restore(self, whole: Experiment) -> Restored:
        """Run again from both snapshots and compare with ``whole``; the run from rest is recorded to a Parquet file."""
        with engramdb.open(self.engram, "r+") as engram:
            engram.restore("mid-touch")
            ids = self._ids
            state = engram.neurons(ids).state
            middle = engram.run(TICKS - engram.tick, record=("spikes",))
        with engramdb.open(self.engram, "r+") as engram:
            engram.restore("at-rest")
            self._stimulate(engram)
            engram.run(TICKS, to=self.spikes)
        again = read_spikes(self.spikes)
        tick, fired = whole.spikes
        late = tick > _MIDDLE
        return Restored(
            from_rest=again,
            from_middle=middle.spikes,
            middle_tick=_MIDDLE,
            charged=sum(word not in ("virtual", "dormant") for word in state),
            in_flight=int((tick == _MIDDLE).sum()),
            identical=_same(again, whole.spikes) and _same(middle.spikes, (tick[late], fired[late])),
        )

    def verify(self) -> Report:
        """Check everything stored."""
        return engramdb.verify(self.engram)

    def draw(self, whole: Experiment, cut: Cut) -> None:
        """Both runs side by side; within a group rows are in the order in which neurons first fire in ``whole``."""
        from engramdb.inspect.raster import Group, Panel, Stimulus, draw

        tick, ids = whole.spikes
        first = np.full(len(self.labels), TICKS + 1, dtype=np.int64)
        np.minimum.at(first, ids.astype(np.int64), tick)
        groups = []
        for number, name in enumerate(GROUPS):
            members = np.flatnonzero(self._group == number)
            groups.append(Group(name, members[np.argsort(first[members], kind="stable")].astype(np.uint64)))
        stimuli = [
            Stimulus(f"{t.where} touched", self._named("|".join(t.neurons)), t.first, t.first + t.duration)
            for t in TOUCHES
        ]
        panels = [
            Panel("whole", *whole.spikes, TICKS),
            Panel(f"{cut.synapses} synapses cut", *cut.experiment.spikes, TICKS),
        ]
        note = (
            f"{len(self.labels)} cells of C. elegans with their chemical synapses (Cook et al. 2019)."
            " Each mark is a spike, each row a cell, in the order in which they first fire.\n"
            "Red: the touched neurons. The cut synapses lead from them to the command interneurons."
        )
        draw(self.picture, "A worm is touched", note, groups, panels, stimuli)

    # ---- the cells

    @cached_property
    def labels(self) -> list[str]:
        """Names of the cells; the place is the id, because the import numbers them in sorted order from 0."""
        with engramdb.open(self.engram) as engram:
            return [label or "" for label in engram.labels(np.arange(len(engram), dtype=np.uint64))]

    @property
    def _ids(self) -> IdArray:
        return np.arange(len(self.labels), dtype=np.uint64)

    @cached_property
    def _group(self) -> npt.NDArray[np.int64]:
        with _rows("nodes.csv") as rows:
            published = {row["name"]: row["group_SI5"] for row in rows}
        groups = [
            2 if _EGG_LAYING_MOTOR.fullmatch(label) else _GROUP_OF.get(published[label], 4) for label in self.labels
        ]
        return np.array(groups, dtype=np.int64)

    def _named(self, pattern: str) -> IdArray:
        matches = re.compile(pattern).fullmatch
        return np.array([place for place, label in enumerate(self.labels) if matches(label)], dtype=np.uint64)

    def size(self, cell_class: CellClass) -> int:
        """How many cells the class has."""
        return len(self._named(cell_class.pattern))

    # ---- what the steps share

    def _stimulate(self, engram: Engram) -> None:
        for touch in TOUCHES:
            engram.stimulate(list(touch.neurons), DRIVE_MV, at=touch.first, duration=touch.duration)

    def _touch_to_command(self, engram: Engram) -> tuple[IdArray, IdArray]:
        command = np.concatenate([self._named(c.pattern) for c in COMMAND])
        pre, post = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.uint64)]
        for touch in TOUCHES:
            for name in touch.neurons:
                row = engram.synapses(name)
                targets = row.targets[np.isin(row.targets, command)]
                pre.append(np.full(len(targets), row.id, dtype=np.uint64))
                post.append(targets)
        return np.concatenate(pre), np.concatenate(post)

    def _experiment(self, spikes: Spikes, elapsed: float) -> Experiment:
        ends = [*(touch.first for touch in TOUCHES[1:]), TICKS + 1]
        replies = tuple(
            tuple(_reply(spikes, self._named(c.pattern), t.first, end) for t, end in zip(TOUCHES, ends, strict=True))
            for c in COMMAND + MOTOR
        )
        silent = tuple(_silent_after(spikes, touch, end) for touch, end in zip(TOUCHES, ends, strict=True))
        return Experiment(spikes, replies, silent, elapsed)


def digest(spikes: Spikes) -> str:
    """SHA-256 of all (tick, id) pairs, little-endian int64 and uint64; equal for equal spikes only."""
    tick, ids = spikes
    return hashlib.sha256(tick.astype("<i8").tobytes() + ids.astype("<u8").tobytes()).hexdigest()


def read_spikes(path: Path) -> Spikes:
    """(tick, id) arrays of a recorded run."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return table["tick"].to_numpy(), table["id"].to_numpy()


def as_document(experiment: Experiment) -> dict[str, Any]:
    """An experiment as plain values."""
    return {
        "spikes": len(experiment.spikes[0]),
        "cells": len(np.unique(experiment.spikes[1])),
        "digest": experiment.digest,
        "silent_after_ms": list(experiment.silent_after_ms),
        "classes": {
            c.name: {touch.where: asdict(reply) for touch, reply in zip(TOUCHES, row, strict=True)}
            for c, row in zip(COMMAND + MOTOR, experiment.replies, strict=True)
        },
    }


@contextmanager
def _rows(name: str) -> Iterator[Iterator[dict[str, str]]]:
    """The rows of a bundled table."""
    found = files("engramdb").joinpath("data", "celegans", name)
    if not found.is_file():
        raise EngramError(f"the bundled {name} is missing; install EngramDB again")
    with found.open(encoding="utf-8") as lines:
        yield csv.DictReader(lines)


def _same(one: Spikes, other: Spikes) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _reply(spikes: Spikes, members: IdArray, start: int, stop: int) -> Reply:
    """Of ``members`` in ticks ``start`` (included) to ``stop`` (excluded); a tick is a millisecond."""
    tick, ids = spikes
    theirs = (tick >= start) & (tick < stop) & np.isin(ids, members)
    first = float(tick[theirs].min() - start) if theirs.any() else None
    return Reply(len(np.unique(ids[theirs])), int(theirs.sum()), first)


def _silent_after(spikes: Spikes, touch: Touch, end: int) -> float | None:
    """Milliseconds from the end of a touch to the last spike before tick ``end``; None while it still goes on there."""
    tick = spikes[0]
    within = tick[(tick >= touch.first) & (tick < end)]
    if len(within) == 0:
        return 0.0
    last = int(within.max())
    return None if last == end - 1 else float(max(0, last - (touch.first + touch.duration - 1)))
