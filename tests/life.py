"""Lives: a story of commands carried out on an engram in one of many ways, and all that there is in the end."""

from __future__ import annotations

import contextlib
import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engramdb
from engramdb import Engram, Spec
from engramdb.bursts import Bursts
from engramdb.engine import Engine
from engramdb.errors import BudgetExceeded, InvalidInput, NotFound
from engramdb.query.synapses import whole_rows
from engramdb.slowfiles import SlowFiles
from engramdb.store import Store
from engramdb.workers import Workers
from tests.everything import Way
from tests.modeltwin import NumberedTwin, assert_same_fields, following, twin_now
from tests.networks import ids_of
from tests.test_model_networks import DRIVEN
from tests.test_poisson import twin_train

_HORIZON = 400  # ticks for which the twin knows Poisson trains


class Life:
    """An engram that lives a story in one way; ``said`` is what calls returned, where they did return."""

    def __init__(self, path: Path, way: Way) -> None:
        self.path, self.way, self.memory = path, way, way.memory
        self.branch = "main"
        self.names: list[str] = []
        self.branches = ["main"]
        self.cuts = 0
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []
        self.counts: list[int] = []
        self.said: dict[int, str] = {}
        self.twin: NumberedTwin | None = None
        self.twins: dict[str, NumberedTwin] = {}
        self.open()

    def open(self) -> None:
        """Open the engram to write, in more memory where what it has is too small."""
        while True:
            store = Store.open(self.path, "r+", files=SlowFiles(self.way.slow), branch=self.branch)
            try:
                self.e = Engram(store, memory=self.memory, threads=self.way.threads)
                return
            except BudgetExceeded:
                self.more()

    def more(self) -> None:
        """A quarter more memory, as it barely fits."""
        self.memory += self.memory // 4 + 256
        assert self.memory < 1 << 29

    def leave(self, *, cleanly: bool = True) -> None:
        """Close; not ``cleanly``: as after a crash, when the journal is all there is."""
        if cleanly:
            with contextlib.suppress(BudgetExceeded):
                self.e.close()
        self.e._shut()

    def insist(self, call: Callable[[], Any]) -> Any:
        """What ``call`` returns in as much memory as it takes; None where the journal has completed it."""
        while True:
            try:
                return call()
            except BudgetExceeded as error:
                self.more()
                done = "opening to write completes it" in str(error)
                self.leave()
                self.open()
                if done:
                    return None
            except (InvalidInput, NotFound) as error:
                return f"{type(error).__name__}: {error}"

    def live(self, story: list[tuple[str, int]]) -> None:
        for number, (kind, seed) in enumerate(story):
            random = np.random.default_rng(seed)
            said = getattr(self, f"do_{kind}")(random)
            if said is not None:
                self.said[number] = str(said)
            if self.twin is not None:
                assert self.e.tick == self.twin.tick
                assert_same_fields(self.e, self.twin)

    # ---- ticks

    def do_run(self, random: np.random.Generator) -> None:
        left = int(random.choice([0, 1, 7, 20, 33, 60, 60]))
        end = self.e.tick + left
        expected = None if self.twin is None else self.twin.run(left)
        began = len(self.parts)
        while self.e.tick < end:
            try:
                run = self.e.run(min(self.way.piece, end - self.e.tick), record=("spikes",))
            except BudgetExceeded as error:
                run = error.run
                self.more()
                self.leave(cleanly=self.memory % 2 == 0)
                self.open()
                if run is None:  # not even what is in flight had room
                    continue
            self.parts.append(run.spikes)
            self.counts += run.counts.tolist()
            self.cut()
        if expected is not None:
            for place in (0, 1):
                found = [part[place] for part in self.parts[began:]]
                np.testing.assert_array_equal(np.concatenate(found) if found else expected[place], expected[place])

    def cut(self) -> None:
        way = self.way.cut
        if way in ("close", "crash"):
            self.leave(cleanly=way == "close")
            self.open()
        elif way == "restore":
            self.cuts += 1
            name = f"cut {self.cuts}"
            self.insist(lambda: self.e.snapshot(name))
            if self.cuts % 3 == 0:
                self.insist(lambda: self.e.stop_stimuli())
                with contextlib.suppress(BudgetExceeded):
                    self.e.run(5)
            self.insist(lambda: self.e.restore(name))
        elif way == "behind":
            self.insist(lambda: self.e.checkpoint(wait=False))
        elif way == "compact":
            self.insist(lambda: self.e.compact() and None)

    # ---- input

    def some(self, random: np.random.Generator, most: int) -> np.ndarray:
        ids = ids_of(self.e)
        return random.choice(ids, int(random.integers(1, min(most, len(ids)))), replace=False)

    def amplitudes(self, random: np.random.Generator, ids: np.ndarray) -> np.ndarray:
        driven = np.array([DRIVEN[self.e.spec.layer(int(i) >> 48).model][2] for i in ids])
        return (driven * random.choice([1.5, 1.0, 1.0, 0.3, -0.3], len(ids))).astype(np.float32)

    def do_pulse(self, random: np.random.Generator) -> Any:
        ids, later, duration = self.some(random, 60), int(random.integers(1, 5)), int(random.integers(1, 9))
        start, amplitude = self.e.tick + later, self.amplitudes(random, ids)
        number = self.insist(lambda: self.e.stimulate(ids, amplitude, at=start, duration=duration))
        self.told(number, ids, amplitude, start, duration)
        return number

    def do_current(self, random: np.random.Generator) -> Any:
        ids, start = self.some(random, 12), self.e.tick + int(random.integers(1, 4))
        steps = [self.amplitudes(random, ids) * np.float32(0.5) for _ in range(3)]
        lasting = [int(random.integers(1, 9)), int(random.integers(1, 9)), None if random.random() < 0.5 else 20]
        number = self.insist(lambda: self.e.stimulate(ids, steps, at=start, duration=lasting))
        for amplitude, duration in zip(steps, lasting, strict=True):
            self.told(number, ids, amplitude, start, duration or 1 << 40)
            start += duration or 0
        return number

    def do_poisson(self, random: np.random.Generator) -> Any:
        ids, start = self.some(random, 12), self.e.tick + int(random.integers(1, 4))
        rates = random.choice([0.0, 0.02, 0.1, 1.5], len(ids)) * 1000 / self.e.spec.dt_ms
        amplitude = np.abs(self.amplitudes(random, ids))
        duration = None if random.random() < 0.5 else 30
        number = self.insist(lambda: self.e.poisson(ids, rates, amplitude, at=start, duration=duration))
        if self.twin is not None and isinstance(number, int):
            last = start + duration - 1 if duration else self.e.tick + _HORIZON
            rates = rates * (self.e.spec.dt_ms / 1000.0)
            for i in np.flatnonzero(rates):
                for tick in twin_train(self.e.spec.seed, number, int(ids[i]), float(rates[i]), last):
                    if tick >= start:
                        self.told(number, ids[i : i + 1], amplitude[i : i + 1], tick, 1)
        return number

    def do_train(self, random: np.random.Generator) -> Any:
        ids = random.choice(self.some(random, 40), 60)
        ticks, amplitude = self.e.tick + random.integers(1, 50, 60), self.amplitudes(random, ids)
        number = self.insist(lambda: self.e.play(ids, ticks, amplitude))
        for i in range(60):
            self.told(number, ids[i : i + 1], amplitude[i : i + 1], int(ticks[i]), 1)
        return number

    def told(self, number: Any, ids: np.ndarray, amplitude: np.ndarray, start: int, duration: int) -> None:
        if self.twin is not None and isinstance(number, int):
            self.twin.stimulate(np.searchsorted(self.twin.ids, ids), amplitude, start, duration)
            self.twin.numbers.append(number)

    def do_stop(self, random: np.random.Generator) -> Any:
        listed = [stimulus.number for stimulus in self.insist(lambda: self.e.stimuli())]
        if not listed:
            return None
        chosen = [int(random.choice(listed))] if random.random() < 0.7 else []
        if self.twin is not None:
            ended = set(chosen or listed)
            self.twin.stimuli = [
                (start, min(stop, self.e.tick) if number in ended else stop, *rest)
                for number, (start, stop, *rest) in zip(self.twin.numbers, self.twin.stimuli, strict=True)
            ]
        return self.insist(lambda: self.e.stop_stimuli(*chosen)), listed

    # ---- changes

    def do_connect(self, random: np.random.Generator) -> Any:
        joined = self.e.spec.all_projections
        if not joined:
            return None
        projection = joined[int(random.integers(len(joined)))]
        ends = [self.of_layer(random, name, 4) for name in (projection.pre, projection.post)]
        joining = next(p for p in joined if (p.pre, p.post) == (projection.pre, projection.post))
        weight = DRIVEN[self.e.spec.layer(projection.post).model][1] * random.uniform(0, 1.5) * (joining.sign or 1)
        least, longest = self.e.spec.delay_range(joining)
        given = random.random() < 0.6
        delay_ms = int(random.integers(least, longest + 1)) * self.e.spec.dt_ms if given else None
        said = self.insist(lambda: self.e.connect(*ends, weight, delay_ms=delay_ms))
        self.changed()
        return said

    def of_layer(self, random: np.random.Generator, name: str, n: int) -> np.ndarray:
        ids = ids_of(self.e)
        return random.choice(ids[ids >> np.uint64(48) == self.e.spec.layer(name).index], n)

    def do_set_weight(self, random: np.random.Generator) -> Any:
        for pre in self.some(random, 5):
            row = self.insist(lambda: self.e.synapses(int(pre)))  # noqa: B023
            if len(row):
                which = int(random.integers(len(row)))
                weight = float(row.weights[which]) * random.uniform(0, 1)
                said = self.insist(lambda: self.e.set_weight(int(pre), int(row.targets[which]), weight))  # noqa: B023
                self.changed()
                return said
        return None

    def do_parameters(self, random: np.random.Generator) -> Any:
        layers = [layer for layer in self.e.spec.layers if layer.columns]
        if not layers:
            return None
        layer = layers[int(random.integers(len(layers)))]
        ids = np.unique(self.of_layer(random, layer.name, 20))
        values: dict[str, Any] = {
            name: random.uniform(*DRIVEN[layer.model][3][name], len(ids))
            for name in layer.columns
            if name in DRIVEN[layer.model][3] and random.random() < 0.7
        }
        if "refractory" in layer.columns:
            values["refractory"] = np.round(random.integers(0, 5, len(ids)) * self.e.spec.dt_ms, 6)
        for column in values.values():
            if random.random() < 0.3:
                column[random.random(len(ids)) < 0.5] = np.nan
        said = self.insist(lambda: self.e.set_parameters(ids, **values))
        self.changed()
        return said

    def do_error(self, random: np.random.Generator) -> Any:
        ids = self.some(random, 30)
        values = random.choice([1.0, 1.0, -1.0, 0.5, 0.0], len(ids))
        said = self.insist(lambda: self.e.set_error(ids, values))
        if self.twin is not None and self.twin.learner is not None:
            self.twin.learner.errors |= dict(zip(ids.tolist(), values.tolist(), strict=True))
        return said

    def do_reward(self, random: np.random.Generator) -> Any:
        value = float(random.choice([1.0, -1.0, 0.3, 0.0]))
        said = self.insist(lambda: self.e.reward(value))
        if self.twin is not None and self.twin.learner is not None:
            self.twin.learner.reward(self.twin, value)
        return said

    def do_grow(self, random: np.random.Generator) -> Any:
        layer = self.e.spec.layers[int(random.integers(len(self.e.spec.layers)))]
        n, materialize = int(random.integers(1, 30)), bool(random.random() < 0.4)
        said = self.insist(lambda: self.e.grow(layer.name, n, materialize=materialize) and None)
        self.changed()
        return said

    def do_forget(self, random: np.random.Generator) -> Any:
        ids = ids_of(self.e)
        ids = ids[random.random(len(ids)) < 0.5]
        before = np.array(self.e.neurons(ids).state)
        said = self.insist(lambda: self.e.forget(ids))
        if self.twin is not None:
            after = np.array(self.e.neurons(ids).state)
            gone = np.searchsorted(self.twin.ids, ids[(before != "virtual") & (after == "virtual")])
            self.twin.spike_count[gone], self.twin.last_spike[gone] = 0, 0
        return said

    def changed(self) -> None:
        """Let the twin have the synapses, the parameters and the neurons that the engram has now."""
        if self.twin is not None:
            self.twin = following(self.twin, self.e)

    # ---- history

    def do_snapshot(self, random: np.random.Generator) -> None:
        name = f"s{len(self.names)}"
        self.insist(lambda: self.e.snapshot(name) and None)
        self.names.append(name)
        if self.twin is not None:
            self.twins[name] = copy.deepcopy(self.twin)

    def do_restore(self, random: np.random.Generator) -> None:
        if self.names:
            name = str(random.choice(self.names))
            self.insist(lambda: self.e.restore(name) and None)
            if self.twin is not None:
                self.twin = copy.deepcopy(self.twins[name])

    def do_branch(self, random: np.random.Generator) -> None:
        name = f"b{len(self.branches)}"
        self.insist(lambda: self.e.branch(name) and None)
        self.branches.append(name)
        self.go_to(name, new=True)

    def do_switch(self, random: np.random.Generator) -> None:
        self.go_to(str(random.choice(self.branches)))

    def go_to(self, name: str, *, new: bool = False) -> None:
        if self.twin is not None:
            self.twins[f"branch {self.branch}"] = copy.deepcopy(self.twin)
        self.leave(cleanly=self.way.cut != "crash")
        self.branch = name
        self.open()
        if self.twin is not None and not new:
            self.twin = copy.deepcopy(self.twins[f"branch {name}"])

    def do_behind(self, random: np.random.Generator) -> None:
        self.insist(lambda: self.e.checkpoint(wait=False))

    # ---- what there is in the end

    def spikes(self) -> dict[str, np.ndarray]:
        none = (np.empty(0, np.int64), np.empty(0, np.uint64))
        at, who = (np.concatenate(x) for x in zip(none, *self.parts, strict=True))
        return {"spike tick": at, "spike id": who, "counts": np.array(self.counts, dtype=np.int64)}

    def content(self) -> dict[str, Any]:
        """Close, and give spikes, every field, all that is in flight, and the whole store."""
        ids = ids_of(self.e)
        found: dict[str, Any] = {**self.spikes(), "said": self.said, "tick": self.e.tick, "sizes": self.e.sizes}
        found |= {f"live {name}": column for name, column in self.e.neurons(ids).fields.items()}
        found["stimuli"] = self.insist(lambda: self.e.stimuli())
        self.insist(lambda: self.e.checkpoint() and None)
        self.e.close()
        with engramdb.open(self.path, branch=self.branch) as e:
            neurons = e.neurons(ids)
            found |= {f"stored {name}": column for name, column in neurons.fields.items()}
            found |= {f"parameter {name}": column for name, column in e.parameters(ids).items()}
            found |= {f"in flight {name}": column for name, column in e._store.read_state().items()}
            found["states"] = neurons.state
            for layer in e.spec.layers:
                own = ids[ids >> np.uint64(48) == layer.index]
                rows = whole_rows(own, e._store, e._wiring)
                stored = e._store.find(own, query=True)
                found |= {
                    f"{layer.name} ids": stored.ids, f"{layer.name} kind": stored.row_kind,
                    f"{layer.name} indptr": rows.indptr, f"{layer.name} target": rows.target,
                    f"{layer.name} weight": rows.weight, f"{layer.name} projection": rows.projection,
                    f"{layer.name} delay": rows.delay,
                }  # fmt: skip
        return found


def lived(spec: Spec, story: list[tuple[str, int]], way: Way, *, twin: bool = False) -> dict[str, Any]:
    """What there is after a story lived in one way, compared step by step with the ``twin``."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workers, "least_rows", 1)
        patch.setattr(Workers, "least_blocks", 1)
        patch.setattr(Engine, "reading_threads", way.ahead)
        if not way.bursts:
            patch.setattr(Bursts, "most_blocks", 0)
        path = Path(folder) / "net.engram"
        engramdb.create(path, spec).close()
        life = Life(path, way)
        try:
            if twin:
                life.twin = twin_now(life.e)
            life.live(story)
            return life.content()
        finally:
            life.e._shut()


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Bit for bit; what a call said is compared where it was heard in both."""
    assert one.keys() == other.keys()
    for name, values in one.items():
        if isinstance(values, np.ndarray):
            assert values.dtype == other[name].dtype, name
            assert np.array_equal(values, other[name], equal_nan=values.dtype.kind == "f"), (
                name, np.flatnonzero(values != other[name]) if values.shape == other[name].shape else "",
                values, other[name],
            )  # fmt: skip
        elif name == "said":
            heard = values.keys() & other[name].keys()
            assert {n: values[n] for n in heard} == {n: other[name][n] for n in heard}
        else:
            assert values == other[name], name
