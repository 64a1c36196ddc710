"""Random networks of all that can be declared, stories of all that can be done with them, and ways to live them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from engramdb import (
    STDP,
    Bernoulli,
    Explicit,
    FixedIndegree,
    FixedOutdegree,
    Hebbian,
    Layer,
    OneToOne,
    Projection,
    ReVGSP,
    Scaling,
    SmallWorld,
    Spec,
    models,
)
from tests.test_model_networks import DRIVEN

# models of the layers: each is in one of the sets
MODELS = [("lif",), ("lif", "lif_exp"), ("izhikevich", "lif_cond", "adex"), ("lif_shiu", "intfire1")]
KINDS = (
    "run", "run", "run", "run", "pulse", "pulse", "current", "poisson", "train", "stop", "connect", "set_weight",
    "parameters", "grow", "forget", "snapshot", "restore", "branch", "switch", "behind",
    "error", "reward", "reward",
)  # fmt: skip


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

    def plasticity(of: tuple[float, float], sign: int | None = None) -> list[Any]:
        """Rules for weights ``of`` so much; as often as not none."""
        least, most = min(of[0], 0.0 if sign else -of[1]), of[1] * 1.2
        ms = dt_ms * draw(st.sampled_from([0.4, 2.0, 6.0]))
        pairs = draw(st.sampled_from([
            None, None, None, STDP(most, least, 0.05, 0.06, ms, 2 * ms), Hebbian(most, least, most / 50, 9 * dt_ms),
            ReVGSP(most, least, tau_plus_ms=ms, tau_minus_ms=2 * ms, eta=most / 9, decay=0.05, interval_ms=13 * dt_ms),
            STDP(most, least, 0.3, 0.2, 2 * ms, ms, update="multiplicative"),
        ]))  # fmt: skip
        return [] if pairs is None else draw(st.sampled_from([[pairs], [pairs, Scaling(most / 2)]]))

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
        own = weight(name, draw(st.sampled_from([-0.5, 0.5])))
        narrow = draw(
            st.sampled_from([{}, {}, {"weights": "float16"}, {"weights": "int8", "weight_step": strong / 30}])
        )
        layers.append(Layer(
            f"{place}", index=draw(st.sampled_from([place, 65535 - place])), model=name, params=params,
            segments=[n] if draw(st.booleans()) else [n // 2, n - n // 2], materialize=materialize,
            wiring=SmallWorld(k=draw(st.integers(1, 10)), long_fraction=0.2, span=8, weight=own),
            delay_ms=delay_ms(), columns=draw(st.sampled_from([[], columns])), **narrow,
            plasticity=[] if narrow else plasticity(own),
        ))  # fmt: skip
        if draw(st.booleans()):
            layers[-1] = replace(layers[-1], wiring=None, plasticity=())
    rules = [
        None, FixedOutdegree(k=3), FixedOutdegree(k=12), FixedIndegree(k=4), Bernoulli(p=0.05), OneToOne(), Explicit(),
    ]  # fmt: skip
    projections = []
    for pre in layers:
        for post in layers:
            possible = [rule for rule in rules if not isinstance(rule, OneToOne) or pre.neurons == post.neurons]
            if (rule := draw(st.sampled_from(possible))) is not None:
                sign = draw(st.sampled_from([None, 1, -1]))
                of = weight(post.model, 0.5 if sign else draw(st.sampled_from([-0.5, 0.5])))
                projections.append(Projection(
                    pre.name, post.name, rule, weight=of, sign=sign, delay_ms=delay_ms(),
                    plasticity=[] if pre.weights != "float32" else plasticity(of, sign),
                ))  # fmt: skip
    return Spec(seed=draw(st.integers(0, 2**64 - 1)), layers=layers, projections=projections, dt_ms=dt_ms)


_seeds = st.integers(0, 999)
stories = st.builds(
    lambda input, rest: [*input, *rest],
    st.tuples(st.tuples(st.just("pulse"), _seeds), st.tuples(st.sampled_from(["poisson", "train"]), _seeds)),
    st.lists(st.tuples(st.sampled_from(KINDS), _seeds), min_size=4, max_size=16),
)


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
