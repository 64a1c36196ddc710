"""The written forms of a spec: TOML, JSON, and the published JSON Schema."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engramdb.errors import InvalidSpec, NotFound
from engramdb.growth.bundle import Bundles
from engramdb.schemas import spec as schema
from engramdb.spec import (
    RULES,
    Bernoulli,
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

TOML = """
seed = 7
name = "two"

[[layers]]
name = "exc"
segments = [1000]
params = { tau = 20, bias = [12.0, 30.0] }
wiring = { rule = "SmallWorld", k = 12, long_fraction = 0.1, span = 50, weight = [0.5, 1.5] }
materialize = true

[[layers]]
name = "inh"
index = 9
segments = [[3, 150], { index = 1, size = 50 }]

[[projections]]
pre = "exc"
post = "inh"
rule = "FixedOutdegree"
k = 80
weight = { distribution = "LogNormal", mean = -1.0, sd = 0.5 }
delay_ms = 2
sign = -1
"""


def test_toml_says_what_python_says(tmp_path: Path) -> None:
    expected = Spec(
        seed=7,
        name="two",
        layers=[
            Layer(
                "exc",
                segments=[1000],
                params={"tau": 20.0, "bias": (12.0, 30.0)},
                wiring=SmallWorld(k=12, long_fraction=0.1, span=50, weight=(0.5, 1.5)),
                materialize=True,
            ),
            Layer("inh", index=9, segments=[(3, 150), (1, 50)]),
        ],
        projections=[
            Projection("exc", "inh", FixedOutdegree(k=80), weight=LogNormal(-1.0, 0.5), delay_ms=2.0, sign=-1)
        ],
    )
    file = tmp_path / "two.toml"
    file.write_text(TOML, encoding="utf-8")
    assert Spec.from_toml(TOML) == Spec.from_toml(file) == Spec.from_toml(str(file)) == expected


MISSPELT: list[tuple[str, str, str, str]] = [
    ("seed = 7", "sead = 7", "sead", 'did you mean "seed"'),
    ("segments = [1000]", "segmnts = [1000]", "layers[0].segmnts", 'did you mean "segments"'),
    ("segments = [1000]", "", "layers[0].segments", "missing"),
    ("segments = [1000]", "segments = 1000", "layers[0].segments", "must be a list"),
    ("size = 50", "sizes = 50", "layers[1].segments[1].sizes", 'did you mean "size"'),
    ("tau = 20", "tua = 20", "layers[0].params.tua", 'did you mean "tau"'),
    ("tau = 20", "tau = nan", "layers[0].params.tau", "finite"),
    ('"SmallWorld"', '"SmalWorld"', "layers[0].wiring.rule", 'did you mean "SmallWorld"'),
    ('rule = "SmallWorld", ', "", "layers[0].wiring.rule", "missing"),
    ("k = 12", "p = 12", "layers[0].wiring.p", "SmallWorld has no such parameter"),
    ("long_fraction", "longfraction", "layers[0].wiring.longfraction", 'did you mean "long_fraction"'),
    ("k = 12, ", "", "layers[0].wiring.k", "missing"),
    ('pre = "exc"', "", "projections[0].pre", "missing"),
    ('pre = "exc"', 'pre = ["exc"]', "projections[0].pre", "no layer"),
    ("delay_ms = 2", "delay = 2", "projections[0].delay", 'did you mean "delay_ms"'),
    ("k = 80", "k = 80\nspan = 3", "projections[0].span", "FixedOutdegree has no such parameter"),
    ('"LogNormal"', '"Lognormal"', "projections[0].weight.distribution", 'did you mean "LogNormal"'),
    ("sd = 0.5", "lo = 0.5", "projections[0].weight.lo", "LogNormal has no such parameter"),
    (", sd = 0.5", "", "projections[0].weight.sd", "missing"),
]


@pytest.mark.parametrize(
    ("right", "wrong", "field", "problem"), MISSPELT, ids=[row[2] + ": " + row[3] for row in MISSPELT]
)
def test_unknown_and_missing_keys_are_refused_by_field(right: str, wrong: str, field: str, problem: str) -> None:
    assert right in TOML
    with pytest.raises(InvalidSpec) as caught:
        Spec.from_toml(TOML.replace(right, wrong))
    assert caught.value.field == field
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_toml_is_named_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('seed = 7\n\n[[layers]\nname = "a"\n', encoding="utf-8")
    with pytest.raises(InvalidSpec, match=r"bad\.toml, line 3: "):
        Spec.from_toml(file)
    with pytest.raises(InvalidSpec, match=r"^TOML, line 2: "):
        Spec.from_toml('seed = 7\nname = "a')
    file.write_bytes(b"name = '\xff'")
    with pytest.raises(InvalidSpec, match=r"bad\.toml: is not UTF-8"):
        Spec.from_toml(file)
    with pytest.raises(NotFound, match="there is no file"):
        Spec.from_toml(tmp_path / "none.toml")
    with pytest.raises(NotFound, match="cannot be read"):
        Spec.from_toml(tmp_path)


@pytest.mark.parametrize("text", ["", "[", '{"layers": }', "[" * 100_000, "9" * 5000])
def test_bad_json_is_one_line(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^JSON, line 1: ") as caught:
        Spec.from_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "5", "null", '{"layers": 5}', '{"layers": [5]}', '{"layers": [{"name": "a"}]}'])
def test_json_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        Spec.from_json(text)


finite = st.floats(-1e3, 1e3)
magnitudes = st.floats(0, 1e3)


def values(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    pairs = st.tuples(numbers, numbers).map(lambda pair: Uniform(min(pair), max(pair)))
    log_normals = st.tuples(st.floats(-3, 3), st.floats(0, 1)).map(lambda pair: LogNormal(*pair))
    return st.one_of(numbers, pairs, log_normals)


any_value = st.one_of(values(finite), st.tuples(finite, st.floats(0, 100)).map(lambda pair: Normal(*pair)))


@st.composite
def any_specs(draw: st.DrawFn) -> Spec:
    indices = draw(st.lists(st.integers(0, 65535), min_size=1, max_size=3, unique=True))
    layers = []
    for number, index in enumerate(indices):
        segments = draw(st.lists(st.integers(0, 65535), min_size=1, max_size=4, unique=True))
        sizes = [draw(st.integers(60, 2**32)) for _ in segments]
        wiring = draw(
            st.one_of(
                st.none(),
                st.builds(
                    SmallWorld,
                    k=st.integers(1, 40),
                    long_fraction=st.floats(0, 1),
                    span=st.integers(20, 29),
                    weight=st.none() | any_value,
                ),
            )
        )
        layers.append(
            Layer(
                draw(st.text("abcé_ -", min_size=1, max_size=5)).strip() + f"{number}",
                index=draw(st.sampled_from([None, index])) if len(indices) == 1 else index,
                params=draw(
                    st.fixed_dictionaries({}, optional={"tau": st.floats(0.1, 100), "bias": st.floats(-50, 10)})
                ),
                segments=list(zip(segments, sizes, strict=True)) if draw(st.booleans()) else sizes,
                wiring=wiring,
                delay_ms=float(draw(st.integers(1, 100))),
                materialize=draw(st.booleans()),
            )
        )
    projections = []
    for number in range(draw(st.integers(0, 3))):
        pre, post = draw(st.sampled_from(layers)), draw(st.sampled_from(layers))
        kinds: list[st.SearchStrategy[Rule]] = [
            st.builds(FixedOutdegree, k=st.integers(1, 60)),
            st.builds(FixedIndegree, k=st.integers(1, 60)),
            st.builds(Bernoulli, p=st.floats(0, 1)),
            st.just(Explicit()),
        ]
        rule = draw(st.one_of(*kinds, st.just(OneToOne())) if pre is post else st.one_of(*kinds))
        sign = draw(st.sampled_from([None, 1, -1]))
        weight = draw(st.none() | (any_value if sign is None else values(magnitudes)))
        projections.append(
            Projection(
                pre.name,
                post.name,
                rule,
                weight=weight,
                delay_ms=0.5 * draw(st.integers(1, 9)),
                sign=sign,
                name=f"p{number}",
            )
        )
    return Spec(
        seed=draw(st.integers(0, 2**64 - 1)),
        layers=layers,
        projections=projections,
        dt_ms=0.5,
        name=draw(st.text(max_size=5)),
        description=draw(st.text(max_size=5)),
    )


@given(any_specs())
def test_json_loses_nothing_and_fits_the_published_shape(spec: Spec) -> None:
    text = spec.to_json()
    assert Spec.from_json(text) == spec
    assert Spec.from_json(text).to_json() == text
    schema.Spec.model_validate_json(text)
    assert Bundles.from_json(Bundles.initial(spec).to_json()) == Bundles.initial(spec)
    assert hash(Spec.from_json(text)) == hash(spec)


@given(any_specs(), st.data())
def test_what_the_published_shape_refuses_is_refused(spec: Spec, data: st.DataObject) -> None:
    content = json.loads(spec.to_json())
    tables = [content, *content["layers"], *content.get("projections", [])]
    tables += [layer["wiring"] for layer in content["layers"] if "wiring" in layer]
    table = data.draw(st.sampled_from(tables))
    needed = {"layers", "name", "segments", "pre", "post", "rule", "k", "p"} - (
        set() if table is not content else {"name"}
    )
    if "rule" in table and "pre" in table:
        needed -= {"name"}
    if data.draw(st.booleans()):
        table["unheard_of"] = 1
    else:
        del table[data.draw(st.sampled_from(sorted(needed & set(table))))]
    with pytest.raises(ValidationError):
        schema.Spec.model_validate_json(json.dumps(content))
    with pytest.raises(InvalidSpec):
        Spec.from_document(content)


def test_seeds_that_javascript_would_lose_are_written_as_text() -> None:
    for seed in (0, 2**53, 2**53 + 1, 2**64 - 1):
        spec = Spec(seed=seed, layers=[CORTEX])
        written = json.loads(spec.to_json())["seed"]
        assert written == (seed if seed <= 2**53 else str(seed))
        assert Spec.from_json(spec.to_json()) == spec


def test_the_published_schema_is_current() -> None:
    assert json.loads(schema.SCHEMA_FILE.read_text(encoding="utf-8")) == schema.json_schema()


def test_the_published_shape_has_the_fields_of_the_classes() -> None:
    def names(kind: type) -> set[str]:
        return {field.name for field in fields(kind)}

    assert set(schema.Spec.model_fields) == names(Spec)
    assert set(schema.Layer.model_fields) == names(Layer)
    assert set(schema.Segment.model_fields) == names(Segment)
    for name, rule in RULES.items():
        assert set(getattr(schema, name).model_fields) == names(rule) | {"rule"}
        assert set(getattr(schema, f"{name}Projection").model_fields) == names(rule) | names(Projection)
    for kind in (Normal, LogNormal, Uniform):
        assert set(getattr(schema, kind.__name__).model_fields) == names(kind) | {"distribution"}
