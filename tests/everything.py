"""Random networks of all that can be declared, stories of all that can be done with them, and ways to live them."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import engramdb
from engramdb import (
    Bernoulli,
    Engram,
    Explicit,
    FixedIndegree,
    FixedOutdegree,
    Layer,
    OneToOne,
    Projection,
    SmallWorld,
    Spec,
    models,
)
from engramdb.bursts import Bursts
from engramdb.engine import Engine
from engramdb.errors import BudgetExceeded, InvalidInput, NotFound
from engramdb.query.synapses import whole_rows
from engramdb.slowfiles import SlowFiles
from engramdb.store import Store
from tests.modeltwin import ModelTwin, assert_same_fields, model_twin_of
from tests.networks import ids_of
from tests.test_model_networks import DRIVEN
from tests.test_poisson import twin_train

# models of the layers; each set of them has a burst of its own, which takes seconds to compile
MODELS = [("lif",), ("lif", "lif_exp"), ("izhikevich", "lif_cond", "adex"), ("lif_shiu", "intfire1")]
KINDS = (
    "run", "run", "run", "run", "pulse", "pulse", "current", "poisson", "train", "stop", "connect", "set_weight",
    "parameters", "grow", "forget", "snapshot", "restore", "branch", "switch", "behind",
)  # fmt: skip
_HORIZON = 400  # ticks for which the twin knows Poisson trains


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """One to three layers of several models, segments and weight types, virtual and written out, joined in any way."""
    names = draw(st.sampled_from(MODELS))
    dt_ms = min(DRIVEN[name][0] for name in names)
    strong = max(DRIVEN[name][1] for name in names)

    def delay_ms() -> Any:
        ticks = draw(st.sampled_from([1, 2, 5, 300, (1, 3), (1, 12), (1, 300), (40, 70)]))
        return (ticks[0] * dt_ms, ticks[1] * dt_ms) if isinstance(ticks, tuple) else round(ticks * dt_ms, 6)

    def weight(post: str, low: float = 0.5) -> tuple[float, float]:
        unit = DRIVEN[post][1] * draw(st.sampled_from([0.5, 1.0, 2.0]))
        return low * unit, 1.5 * unit

    layers: list[Layer] = []
    together = draw(st.booleans())  # layers of one size can be joined one to one
    for place, name in enumerate(names):
        n = layers[0].neurons if layers and together else draw(st.integers(40, 110))
        varying = DRIVEN[name][3]
        columns = [*varying, *({"refractory"} & set(models.get(name).parameters))]
        params: dict[str, Any] = dict(varying) if draw(st.booleans()) else {}
        materialize = draw(st.booleans())
        if name == "lif" and materialize and draw(st.booleans()):
            params |= {"bias": (5.0, 24.0), "v_init": (-70.0, -56.0)}  # some never rest
        layers.append(Layer(
            f"{place}", index=draw(st.sampled_from([place, 65535 - place])), model=name, params=params,
            segments=[n] if draw(st.booleans()) else [n // 2, n - n // 2], materialize=materialize,
            wiring=draw(st.sampled_from([None, SmallWorld(k=draw(st.integers(1, 10)), long_fraction=0.2, span=8,
                                                          weight=weight(name, draw(st.sampled_from([-0.5, 0.5]))))])),
            delay_ms=delay_ms(), columns=draw(st.sampled_from([[], columns])),
            **draw(st.sampled_from([{}, {}, {"weights": "float16"}, {"weights": "int8", "weight_step": strong / 30}])),
        ))  # fmt: skip
    rules = [
        None, FixedOutdegree(k=3), FixedOutdegree(k=12), FixedIndegree(k=4), Bernoulli(p=0.05), OneToOne(), Explicit(),
    ]  # fmt: skip
    projections = []
    for pre in layers:
        for post in layers:
            possible = [rule for rule in rules if not isinstance(rule, OneToOne) or pre.neurons == post.neurons]
            if (rule := draw(st.sampled_from(possible))) is not None:
                sign = draw(st.sampled_from([None, 1, -1]))
                low = 0.5 if sign else draw(st.sampled_from([-0.5, 0.5]))
                projections.append(Projection(
                    pre.name, post.name, rule, weight=weight(post.model, low), sign=sign, delay_ms=delay_ms(),
                ))  # fmt: skip
    return Spec(seed=draw(st.integers(0, 2**64 - 1)), layers=layers, projections=projections, dt_ms=dt_ms)


stories = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 999)), min_size=4, max_size=16)


@dataclass(frozen=True)
class Way:
    """How a story is lived: in what memory, by how many threads, and cut how, every so many ticks."""

    memory: int = 1 << 28
    threads: int = 1
    ahead: int = 1
    slow: float = 0.0
    bursts: bool = True
    cut: str = ""
    piece: int = 1000


ways = st.builds(
    Way,
    memory=st.sampled_from([6_000, 12_000, 24_000, 48_000, 100_000, 1 << 28]),
    threads=st.integers(1, 3),
    ahead=st.integers(0, 1),
    slow=st.sampled_from([0.0, 0.0, 0.0002]),
    bursts=st.booleans(),
    cut=st.sampled_from(["", "close", "crash", "restore", "behind", "compact"]),
    piece=st.integers(1, 20),
)


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
        self.twin: ModelTwin | None = None
        self.twins: dict[str, ModelTwin] = {}
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
            try:
                self.e.close()
            except BudgetExceeded:
                pass
        self.e._shut()

    def insist(self, call: Callable[[], Any]) -> Any:
        """What ``call`` returns in as much memory as it takes; None where the journal has completed it."""
        while True:
            try:
                return call()
            except BudgetExceeded as error:
                self.more()
                done = "the journal completes" in str(error)
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
        left = int(random.choice([0, 1, 2, 7, 20, 33, 60]))
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
                try:
                    self.e.run(5)
                except BudgetExceeded:
                    pass
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
            row = self.e.synapses(int(pre))
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
            name: random.uniform(*DRIVEN[layer.model][3][name], len(ids)) for name in layer.columns if name in DRIVEN[layer.model][3] and random.random() < 0.7
        }
        if "refractory" in layer.columns:
            values["refractory"] = np.round(random.integers(0, 5, len(ids)) * self.e.spec.dt_ms, 6)
        for column in values.values():
            if random.random() < 0.3:
                column[random.random(len(ids)) < 0.5] = np.nan
        said = self.insist(lambda: self.e.set_parameters(ids, **values))
        self.changed()
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
        while True:
            self.insist(lambda: self.e.checkpoint() and None)
            self.e.close()
            break
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


@dataclass
class NumberedTwin(ModelTwin):
    """A twin that knows the number of each stimulus, by which it is stopped."""

    numbers: list[int] = field(default_factory=list)


def twin_now(e: Engram) -> NumberedTwin:
    twin = model_twin_of(e)
    return NumberedTwin(**{name: getattr(twin, name) for name in twin.__dataclass_fields__})


def following(before: NumberedTwin, e: Engram) -> NumberedTwin:
    """The twin ``before``, with the synapses and parameters of ``e`` as it is now, and those neurons that are new."""
    twin = twin_now(e)
    place = np.searchsorted(twin.ids, before.ids)
    twin.tick, twin.numbers = before.tick, before.numbers
    twin.stimuli = [(start, stop, place[who], mv) for start, stop, who, mv in before.stimuli]
    twin.left[place] = before.left
    twin.spike_count[place], twin.last_spike[place] = before.spike_count, before.last_spike
    for name, values in before.fields.items():
        twin.fields[name][place] = values
    for tick, fired in before.fired_at.items():
        twin.fired_at[tick] = np.zeros(len(twin.ids), dtype=bool)
        twin.fired_at[tick][place] = fired
    return twin


def lived(spec: Spec, story: list[tuple[str, int]], way: Way, *, twin: bool = False) -> dict[str, Any]:
    """What there is after a story lived in one way, compared step by step with the ``twin``."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "least_rows_a_part", 1)
        patch.setattr(Engine, "least_blocks_a_part", 1)
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
