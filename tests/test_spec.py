"""Specs: what is accepted, what is refused and by which field name, and the written forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engramdb import models
from engramdb.errors import InvalidSpec, NotFound
from engramdb.growth.bundle import Bundles
from engramdb.spec import (
    Bernoulli,
    Constant,
    Distribution,
    Explicit,
    FixedIndegree,
    FixedOutdegree,
    Layer,
    LogNormal,
    Normal,
    OneToOne,
    Projection,
    Rule,
    Segment,
    SmallWorld,
    Spec,
    Uniform,
)

CORTEX = Layer("cortex", segments=[1000], wiring=SmallWorld(k=12, weight=(0.5, 1.5)))


def two_layers(*projections: Projection, **options: Any) -> Spec:
    return Spec(layers=[Layer("exc", segments=[800]), Layer("inh", segments=[200])], projections=projections, **options)


def test_values_are_brought_into_one_form() -> None:
    spec = Spec(
        seed=np.uint64(7),  # type: ignore[arg-type]
        layers=[
            Layer(
                "cortex",
                params={"tau": 10, "bias": (1, 2), "epsilon": None},  # type: ignore[dict-item]
                segments=[np.int64(5), (7, 3), Segment(2, 1)],  # type: ignore[list-item]
            )
        ],
    )
    layer = spec.layers[0]
    assert spec.seed == 7
    assert layer.index == 0
    assert layer.params == {"tau": 10.0, "bias": Uniform(1.0, 2.0)}
    assert layer.segments == (Segment(0, 5), Segment(7, 3), Segment(2, 1))
    assert layer.domain == ((0, 5), (2, 1), (7, 3))
    assert layer.neurons == spec.neurons == 9


def test_a_weight_given_in_the_rule_is_that_of_the_projection() -> None:
    inside = Projection("exc", "inh", FixedOutdegree(k=3, weight=(1, 2)))
    assert inside == Projection("exc", "inh", FixedOutdegree(k=3), weight=(1, 2))
    assert inside.weight == Uniform(1.0, 2.0)
    assert Projection("exc", "inh", FixedOutdegree(k=3)).weight == 1.0
    assert Projection("exc", "inh", FixedOutdegree(k=3), weight=Constant(2)).weight == 2.0


def test_layer_wirings_come_first_among_the_projections() -> None:
    spec = Spec(
        layers=[Layer("a", segments=[10]), Layer("b", segments=[300], wiring=SmallWorld(k=2), delay_ms=3.0)],
        projections=[Projection("a", "b", Explicit()), Projection("b", "b", OneToOne(), name="self")],
    )
    assert [p.name for p in spec.all_projections] == ["b", "a->b", "self"]
    assert [(p.pre, p.post) for p in spec.all_projections] == [("b", "b"), ("a", "b"), ("b", "b")]
    assert [spec.delay_ticks(p) for p in spec.all_projections] == spec.delays.tolist() == [3, 1, 1]


def test_delays_are_counted_in_ticks() -> None:
    spec = two_layers(Projection("exc", "inh", Explicit(), delay_ms=1.8), dt_ms=0.1)
    assert spec.delay_ticks(spec.all_projections[0]) == 18


def test_layers_are_found_by_name_and_by_index() -> None:
    spec = Spec(layers=[Layer("exc", segments=[1]), Layer("inh", index=40000, segments=[1])])
    assert spec.layer("inh") is spec.layer(40000) is spec.layers[1]
    with pytest.raises(NotFound, match='no layer "ihn"; did you mean "inh"'):
        spec.layer("ihn")
    with pytest.raises(NotFound, match="no layer with index 1; known: 0, 40000"):
        spec.layer(1)


def test_repr_is_one_short_line() -> None:
    spec = Spec(seed=7, layers=[Layer("cortex", segments=[4_000_000_000] * 25, wiring=SmallWorld(k=12))])
    assert repr(spec) == "<Spec: seed 7, 1 layer, 100,000,000,000 neurons, 1 projection>"
    assert repr(spec.layers[0]) == "<Layer 'cortex': 100,000,000,000 neurons, lif>"


def _layer(**fields: Any) -> dict[str, Any]:
    return {"layers": [Layer(**({"name": "a", "segments": [1000]} | fields))]}


def _join(rule: Any, **fields: Any) -> dict[str, Any]:
    layers = [Layer("exc", segments=[800]), Layer("inh", segments=[200])]
    return {"layers": layers, "projections": [Projection(**({"pre": "exc", "post": "inh", "rule": rule} | fields))]}


NAN = float("nan")
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "layers", "at least one layer"),
    ({"layers": 5}, "layers", "must be a list"),
    ({"layers": ["a"]}, "layers[0]", "must be a Layer"),
    (_layer() | {"projections": [1]}, "projections[0]", "must be a Projection"),
    (_layer() | {"seed": -1}, "seed", "0..2^64-1"),
    (_layer() | {"seed": 2**64}, "seed", "0..2^64-1"),
    (_layer() | {"seed": 1.0}, "seed", "whole number"),
    (_layer() | {"seed": True}, "seed", "whole number"),
    (_layer() | {"dt_ms": 0}, "dt_ms", "milliseconds"),
    (_layer() | {"dt_ms": NAN}, "dt_ms", "milliseconds"),
    (_layer() | {"dt_ms": 1e-300}, "dt_ms", "milliseconds"),
    (_layer() | {"name": 3}, "name", "must be text"),
    (_layer(name=""), "layers[0].name", "must be text"),
    (_layer(name="a/b"), "layers[0].name", "without"),
    (_layer(name="a\nb"), "layers[0].name", "printable"),
    (_layer(index=65536), "layers[0].index", "0..65535"),
    (_layer(index=-1), "layers[0].index", "0..65535"),
    (_layer(index=True), "layers[0].index", "whole number"),
    (_layer(materialize=1), "layers[0].materialize", "true or false"),
    (_layer(segments=[]), "layers[0].segments", "at least one segment"),
    (_layer(segments=1000), "layers[0].segments", "must be a list"),
    (_layer(segments=[10, 0]), "layers[0].segments[1]", "1..2^32"),
    (_layer(segments=[2**32 + 1]), "layers[0].segments[0]", "1..2^32"),
    (_layer(segments=[1.5]), "layers[0].segments[0]", "a size or a pair"),
    (_layer(segments=[True]), "layers[0].segments[0]", "1..2^32"),
    (_layer(segments=[(65536, 1)]), "layers[0].segments[0]", "0..65535"),
    (_layer(segments=[(1, 5), 7, (1, 9)]), "layers[0].segments[1]", "overlaps segments[0]: both have index 1"),
    (_layer(model="liff"), "layers[0].model", 'did you mean "lif"'),
    (_layer(params={"taw": 20}), "layers[0].params.taw", 'did you mean "tau"'),
    (_layer(params={"tau": NAN}), "layers[0].params.tau", "finite"),
    (_layer(params={"tau": 0}), "layers[0].params.tau", "outside"),
    (_layer(params={"epsilon": (1, 2)}), "layers[0].params.epsilon", "one number for the whole layer"),
    (_layer(params={"tau": "20"}), "layers[0].params.tau", "must be a number"),
    (_layer(params={"bias": (2, 1)}), "layers[0].params.bias", "greater than hi"),
    (_layer(params={"bias": Normal(0, -1)}), "layers[0].params.bias", "negative"),
    (_layer(params={"bias": Normal("a", 1)}), "layers[0].params.bias", "mean must be a number"),  # type: ignore[arg-type]
    (_layer(params={"v_reset": -50}), "layers[0].params.v_threshold", "above v_reset"),
    (_layer(params={"v_threshold": -70}), "layers[0].params.v_threshold", "above v_rest"),
    (_layer(params={"refractory": 1.5}), "layers[0].params.refractory", "whole number of ticks"),
    (_layer(params={"bias": 15}), "layers[0].params.bias", "never rests"),
    (_layer(params={"bias": (0, 15.5)}), "layers[0].params.bias", "never rests"),
    (_layer(params={"v_init": -60}), "layers[0].params.v_init", "materialize = true"),
    (_layer(wiring="SmallWorld"), "layers[0].wiring", "must be a wiring rule"),
    (_layer(wiring=Rule()), "layers[0].wiring", "must be a wiring rule"),
    (_layer(wiring=SmallWorld(k=0)), "layers[0].wiring.k", "at least 1"),
    (_layer(wiring=SmallWorld(k=1.0)), "layers[0].wiring.k", "whole number"),  # type: ignore[arg-type]
    (_layer(wiring=SmallWorld(k=1001, span=400)), "layers[0].wiring.k", "has 1000"),
    (_layer(wiring=SmallWorld(k=5, long_fraction=1.1)), "layers[0].wiring.long_fraction", "0..1"),
    (_layer(wiring=SmallWorld(k=5, long_fraction=NAN)), "layers[0].wiring.long_fraction", "0..1"),
    (_layer(wiring=SmallWorld(k=5, span=500)), "layers[0].wiring.span", "allows 499"),
    (_layer(wiring=SmallWorld(k=12, span=5)), "layers[0].wiring.span", "11 near synapses"),
    (_layer(wiring=SmallWorld(k=5, weight=NAN)), "layers[0].wiring.weight", "finite"),
    (_layer(wiring=SmallWorld(k=5), delay_ms=0.5), "layers[0].delay_ms", "no whole number of ticks"),
    (_layer(wiring=SmallWorld(k=5), delay_ms=0), "layers[0].delay_ms", "0 ticks"),
    (_layer(wiring=SmallWorld(k=5), delay_ms=float("inf")), "layers[0].delay_ms", "no whole number"),
    (_layer(wiring=SmallWorld(k=5), delay_ms="1"), "layers[0].delay_ms", "must be a number"),
    ({"layers": [CORTEX, CORTEX]}, "layers[1].name", "already that of layers[0]"),
    ({"layers": [CORTEX, Layer("b", index=0, segments=[1])]}, "layers[1].index", "already that of layers[0]"),
    (_join(Explicit(), pre="ex"), "projections[0].pre", 'did you mean "exc"'),
    (_join(Explicit(), post="x"), "projections[0].post", "known: exc, inh"),
    (_join(None), "projections[0].rule", "must be a rule"),
    (_join(SmallWorld(k=5)), "projections[0].rule", "use FixedOutdegree"),
    (_join(FixedOutdegree(k=201)), "projections[0].k", "the post layer has 200"),
    (_join(FixedIndegree(k=801)), "projections[0].k", "the pre layer has 800"),
    (_join(Bernoulli(p=-0.1)), "projections[0].p", "0..1"),
    (_join(OneToOne()), "projections[0].rule", "800 and 200 neurons"),
    (_join(Explicit(), sign=0), "projections[0].sign", "1 or -1"),
    (_join(Explicit(), sign=-1, weight=-0.5), "projections[0].weight", "takes magnitudes"),
    (_join(Explicit(), sign=1, weight=Normal(1, 1)), "projections[0].weight", "takes magnitudes"),
    (_join(Explicit(), weight=16385), "projections[0].weight", "beyond 16384 mV"),
    (_join(Explicit(), weight=(-16385, 0)), "projections[0].weight", "-16385 mV is beyond"),
    (_join(Explicit(), weight=LogNormal(700, 1)), "projections[0].weight", "too large"),
    (_join(Explicit(weight=1.0), weight=1.0), "projections[0].weight", "give it once"),
    (_join(Explicit(), plasticity=["stdp"]), "projections[0].plasticity[0]", "must be a learning rule"),
    (_join(Explicit(), plasticity="stdp"), "projections[0].plasticity[0]", "must be a learning rule"),
    (_join(Explicit(), delay_ms=70000), "projections[0].delay_ms", "1..65535"),
    (_join(Explicit(), name=5), "projections[0].name", "must be text"),
]


@pytest.mark.parametrize(("arguments", "field", "problem"), REFUSED, ids=[f"{r[1]}: {r[2]}" for r in REFUSED])
def test_what_is_wrong_is_refused_by_field(arguments: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        Spec(**arguments)
    assert caught.value.field == field
    message = str(caught.value)
    assert message.startswith(f"{field}: ")
    assert problem in message
    assert "\n" not in message


def test_projection_names_are_unique() -> None:
    twice = [Projection("exc", "inh", Explicit()), Projection("exc", "inh", FixedOutdegree(k=2))]
    with pytest.raises(InvalidSpec, match=r'projections\[1\].name: "exc->inh" is already the name of projections\[0\]'):
        two_layers(*twice)
    assert (
        two_layers(twice[0], Projection("exc", "inh", FixedOutdegree(k=2), name="more")).all_projections[1].name
        == "more"
    )


def test_a_materialized_layer_may_never_rest() -> None:
    params = {"bias": (12.0, 30.0), "v_init": (-70.0, -56.0)}
    assert Spec(layers=[Layer("a", segments=[5], params=params, materialize=True)]).layers[0].materialize


def test_a_hundred_billion_neurons_are_declared_in_kilobytes() -> None:
    spec = Spec(
        seed=7, layers=[Layer("cortex", segments=[4_000_000_000] * 25, wiring=SmallWorld(k=12, weight=Normal(1, 0.1)))]
    )
    bundles = Bundles.initial(spec)
    written = spec.to_json() + bundles.to_json()
    assert spec.neurons == 100_000_000_000
    assert len(written) < 200_000


def test_distributions_are_of_one_family() -> None:
    for kind in (Constant(2.0), Uniform(1, 2), Normal(0, 1), LogNormal(0, 1)):
        assert isinstance(kind, Distribution)
        table = kind.table()
        assert table.dtype == np.float64
        assert (np.diff(table) >= 0).all()
        assert kind.bounds() == (table[0], table[-1])
    with pytest.raises(TypeError, match="use Uniform, Normal or LogNormal"):
        Distribution().table()


def test_every_model_parameter_can_be_given() -> None:
    for model in models.names():
        defaults = {name: p.default for name, p in models.get(model).parameters.items() if p.default is not None}
        Spec(dt_ms=0.1, layers=[Layer("a", model=model, params=defaults, segments=[1])])
