"""The bodies of requests to the HTTP service: keys, types and bounds; what they mean is judged by the engram."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, GetCoreSchemaHandler, Tag

MOST_IDS = 100_000
"""Ids, or numbers for them, in one list."""


class _Said:
    """What is said of a value of another type, in place of what each branch of a union says."""

    def __init__(self, expected: str) -> None:
        self._expected = expected

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        said = {"custom_error_type": "wrong_type", "custom_error_message": f"expected {self._expected}"}
        return {"type": "custom-error", "schema": handler(source), **said}


Neuron = Annotated[
    str | int,
    _Said('a neuron id as text or whole number, such as 42, "0/0/42" or "0x2A", or a label'),
    Field(description="an id (42, 0/0/42, 0x2A) or a label"),
]
Neurons = Annotated[list[Neuron], Field(max_length=MOST_IDS)]
LayerName = Annotated[str | int, _Said("a layer, by its name or its index")]
At = Annotated[
    str | int,
    _Said('"live", the name of a snapshot or a branch, or the number of a commit'),
    Field(description="live: the present, at the end of a tick; or a snapshot, a branch, or the number of a commit"),
]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Numbers = Annotated[list[float], Field(max_length=MOST_IDS)]
NumberOrNumbers = Annotated[
    Annotated[float, Tag("number")] | Annotated[Numbers, Tag("numbers")],
    Discriminator(lambda value: "numbers" if isinstance(value, list) else "number"),
]
"""One for all, or one for each id."""


class Body(BaseModel):
    """A body has no keys but these, and no text or truth value in place of a number."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class NewEngram(Body):
    """``spec``: the spec document, as in TOML; see ``schemas/spec.schema.json``."""

    name: Name
    spec: dict[str, Any]


class ManyNeurons(Body):
    """Which neurons, and which of their fields; all by default."""

    ids: Neurons
    fields: Annotated[list[str], Field(max_length=100)] | None = None
    at: At = "live"


class Select(Body):
    """A page of the neurons for which a condition is true."""

    query: Literal["select"]
    layer: LayerName | None = None
    where: Annotated[str, Field(max_length=10_000)] | None = None
    columns: Annotated[list[str], Field(max_length=100)] | None = None
    order: str | None = None
    limit: Annotated[int, Field(ge=1)] = 1000
    cursor: Annotated[str, Field(max_length=4096)] | None = None
    at: At = "live"


class Count(Body):
    """How many neurons satisfy a condition."""

    query: Literal["count"]
    layer: LayerName | None = None
    where: Annotated[str, Field(max_length=10_000)] | None = None
    at: At = "live"


class Top(Body):
    """The neurons with the largest value of a field, such as ``spike_count``, ``out_degree`` or ``in_degree``."""

    query: Literal["top"]
    field: str
    n: Annotated[int, Field(ge=1)] = 50
    layer: LayerName | None = None
    where: Annotated[str, Field(max_length=10_000)] | None = None
    smallest: bool = False
    at: At = "live"


class Ego(Body):
    """The neurons around one, and all synapses between them. ``table``: which of the two NDJSON and Arrow have."""

    query: Literal["ego"]
    id: Neuron
    hops: Annotated[int, Field(ge=0, le=65_536)] = 2
    limit: Annotated[int, Field(ge=1)] = 1000
    direction: Literal["out", "in"] = "out"
    table: Literal["synapses", "neurons"] = "synapses"
    at: At = "live"


class Path(Body):
    """A way from ``a`` to ``b`` along synapses."""

    query: Literal["path"]
    a: Neuron
    b: Neuron
    by: Literal["hops", "strength"] = "hops"
    full: Annotated[float, Field(gt=0)] = 15.0
    limit: Annotated[int, Field(ge=1)] = 100_000
    at: At = "live"


class Recall(Body):
    """Present a cue in a network of its own; ``keep`` does it for real, and needs a key that may write."""

    query: Literal["recall"]
    cue: Neurons
    ticks: Annotated[int, Field(ge=1, le=100_000)] = 50
    amplitude: float = 20.0
    duration: Annotated[int, Field(ge=1)] = 1
    least_spikes: Annotated[int, Field(ge=1)] = 1
    present: bool = False
    keep: bool = False
    at: At = "live"


class Drift(Body):
    """How a trace differs between two places in history; it is recalled in both, by ``cue`` or by all of it.

    ``before``, ``after``: as ``at`` of other questions.
    """

    query: Literal["drift"]
    trace: Name
    before: At
    after: At = "live"
    cue: Neurons | None = None
    ticks: Annotated[int, Field(ge=1, le=100_000)] = 50
    amplitude: float = 20.0
    duration: Annotated[int, Field(ge=1)] = 1
    least_spikes: Annotated[int, Field(ge=1)] = 1


class Overlap(Body):
    """What two traces share; ``ids``: of whom the answer has the ids, of no one by default."""

    query: Literal["overlap"]
    a: Name
    b: Name
    ids: Literal["intersection", "union", "difference"] | None = None
    at: At = "live"


Query = Annotated[Select | Count | Top | Ego | Path | Recall | Drift | Overlap, Field(discriminator="query")]


class Stimulus(Body):
    """Input: a pulse, a Poisson train of each neuron's own, or spikes that are given. ``at``: its first tick.

    ``duration``: ticks; null until it is stopped. ``ticks``: of ``play``, one for each id.
    """

    ids: Neurons
    kind: Literal["pulse", "poisson", "play"] = "pulse"
    amplitude: NumberOrNumbers
    at: Annotated[int, Field(ge=1, lt=1 << 62)] | None = None
    duration: Annotated[int, Field(ge=1, lt=1 << 62)] | None = 1
    rate_hz: NumberOrNumbers | None = None
    ticks: Annotated[list[Annotated[int, Field(ge=1, lt=1 << 62)]], Field(max_length=MOST_IDS)] | None = None


class Reward(Body):
    """Positive strengthens what is eligible, negative weakens it."""

    value: float


class Ticks(Body):
    """``record``: what the answer has; ``to``: a name, for spikes in a file; ``hz``: ticks a second of wall time.

    ``topology``: measure it in the ticks that this number divides.
    """

    ticks: Annotated[int, Field(ge=0, le=1 << 40)]
    record: Annotated[list[Literal["spikes", "counts", "rates"]], Field(max_length=3)] = []
    to: Annotated[str, Field(max_length=64)] | None = None
    hz: Annotated[float, Field(gt=0, le=1e6)] | None = None
    topology: Annotated[int, Field(ge=1, le=1 << 40)] | None = None


class Growth(Body):
    """More neurons at the end of a layer; ``materialize`` writes their rows out."""

    layer: str
    neurons: Annotated[int, Field(ge=1, le=1 << 32)]
    k: Annotated[int, Field(ge=0, le=1 << 32)] | None = None
    materialize: bool = False


class NewSynapses(Body):
    """Synapses ``pre[i] -> post[i]``, made or given this weight (mV); ``create`` false: only those that are there."""

    pre: Neurons
    post: Neurons
    weight: NumberOrNumbers
    delay_ms: NumberOrNumbers | None = None
    create: bool = True


class NewSnapshot(Body):
    """A name for the present; ``message``: of the commit that is made for it."""

    name: Name
    message: Annotated[str, Field(max_length=1000)] = ""


class NewBranch(Body):
    """A branch at a snapshot or commit, or at the present. ``from`` is its key in JSON."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True, populate_by_name=True)

    name: Name
    start: Annotated[
        Annotated[str | int, _Said("the name of a snapshot or a branch, or the number of a commit")] | None,
        Field(alias="from"),
    ] = None


class NewTrace(Body):
    """A name for a set of neurons."""

    name: Name
    ids: Neurons
    replace: bool = False


class Prune(Body):
    """Take away synapses of stored rows that are weaker than ``below`` mV in size, of one ``layer`` or of all."""

    below: Annotated[float, Field(ge=0)]
    layer: LayerName | None = None


class Index(Body):
    """``drop``: do without the reverse index from now on."""

    drop: bool = False


class Collect(Body):
    """Which commits without a name stay: the ``keep_last`` newest of each branch, and all younger than ``keep_days``.

    ``dry_run``: only say what would go.
    """

    keep_last: Annotated[int, Field(ge=0, lt=1 << 31)] = 10
    keep_days: Annotated[float, Field(ge=0, le=1e6)] = 7.0
    dry_run: bool = False


class Checkpoint(Body):
    """``message``: what the log says of it."""

    message: Annotated[str, Field(max_length=1000)] = ""


class Cycle(Body):
    """A growth cycle: ``layer`` and other settings, as in Python, begin one; without them the one there is goes on.

    ``ticks``, ``run_cycles``: how far to run; without either until it is done.
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)

    ticks: Annotated[int, Field(ge=0, le=1 << 40)] | None = None
    run_cycles: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
