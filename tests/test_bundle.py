"""Bundles: what is frozen when neurons are born, and their written form."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from engramdb.address import as_ids
from engramdb.errors import CatalogDamaged, FormatTooNew, InvalidInput, NotFound
from engramdb.growth.bundle import Bundles
from engramdb.spec import (
    Explicit,
    FixedIndegree,
    Layer,
    Normal,
    Projection,
    SmallWorld,
    Spec,
)
from engramdb.wiring import Wiring
from tests.wired import (
    U64,
    networks,
)


def test_every_declared_segment_is_a_bundle() -> None:
    spec = Spec(
        layers=[
            Layer("a", index=9, segments=[(4, 30), (2, 20)], materialize=True),
            Layer("b", index=3, segments=[200], wiring=SmallWorld(k=2)),
        ]
    )
    bundles = Bundles.initial(spec)
    found = [
        (b.number, b.layer, b.segment, b.lo, b.hi, b.origin, b.materialized, len(b.wires)) for b in bundles.bundles
    ]
    assert found == [(0, 9, 2, 0, 20, 0, True, 0), (1, 9, 4, 0, 30, 20, True, 0), (2, 3, 0, 0, 200, 0, False, 1)]
    assert bundles.sizes == {(9, 2): 20, (9, 4): 30, (3, 0): 200}
    assert bundles.domain_of(9) == ((2, 20), (4, 30))
    assert repr(bundles) == "<Bundles: 3, 250 neurons>"


def test_growing_appends_a_bundle() -> None:
    spec = Spec(layers=[Layer("a", segments=[200], wiring=SmallWorld(k=2), delay_ms=1.0), Layer("b", segments=[5])])
    bundles, born = Bundles.initial(spec).grow(spec, "a", 50, k=9, tick=77, materialized=True)
    assert (born.number, born.lo, born.hi, born.neurons, born.born_tick, born.materialized) == (
        2,
        200,
        250,
        50,
        77,
        True,
    )
    assert born.wires[0].rule == SmallWorld(k=9)
    assert bundles.domains[born.wires[0].domain] == ((0, 250),)
    assert bundles.sizes == {(0, 0): 250, (1, 0): 5}
    assert Bundles.from_json(bundles.to_json()) == bundles
    wiring = Wiring(spec, bundles)
    assert wiring.degrees(as_ids([199, 200, 249])).tolist() == [2, 9, 9]
    # a layer that is full goes on in a new segment
    bundles, born = bundles.grow(spec, 0, 2**32 - 5)
    assert (born.segment, born.lo, born.origin) == (1, 0, 250)
    bundles, born = bundles.grow(spec, "a", 3, segment=7)
    assert (born.segment, born.lo, born.origin) == (7, 0, 250 + 2**32 - 5)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"neurons": 0}, "neurons must be"),
        ({"neurons": 1.0}, "neurons must be"),
        ({"neurons": True}, "neurons must be"),
        ({"neurons": 2**32 + 1}, "neurons must be"),
        ({"neurons": 5, "segment": -1}, "no place for a segment -1"),
        ({"neurons": 5, "segment": 65536}, "no place for a segment 65536"),
        ({"neurons": 2**32 - 199, "segment": 0}, "room for 4294967096 more neurons"),
        ({"neurons": 5, "k": 0}, "k of a: must be at least 1"),
        ({"neurons": 5, "k": 150}, "span of a"),
        ({"neurons": 5, "layer": "b", "segment": 1, "k": 2}, "no virtual wiring onto itself"),
    ],
)
def test_growth_that_cannot_be_is_refused(arguments: dict[str, Any], problem: str) -> None:
    spec = Spec(layers=[Layer("a", segments=[200], wiring=SmallWorld(k=2)), Layer("b", segments=[(65535, 2**32)])])
    with pytest.raises(InvalidInput, match=problem):
        Bundles.initial(spec).grow(spec, **({"layer": "a"} | arguments))


def test_a_layer_without_room_cannot_grow() -> None:
    spec = Spec(layers=[Layer("b", segments=[(65535, 2**32)])])
    with pytest.raises(InvalidInput, match="no place for a segment 65536"):
        Bundles.initial(spec).grow(spec, "b", 1)
    with pytest.raises(NotFound, match="no layer"):
        Bundles.initial(spec).grow(spec, "c", 1)


def test_rules_that_are_built_make_no_wires() -> None:
    spec = Spec(
        layers=[Layer("a", segments=[10])],
        projections=[Projection("a", "a", rule, name=type(rule).__name__) for rule in (Explicit(), FixedIndegree(k=2))],
    )
    bundles = Bundles.initial(spec)
    assert bundles.bundles[0].wires == ()
    wiring = Wiring(spec, bundles)
    assert wiring.rows(np.arange(10, dtype=U64)).indptr.tolist() == [0] * 11
    assert [len(column) for column in wiring.sources(3)[:3]] == [0, 0, 0]


@given(networks())
def test_bundles_survive_json(network: tuple[Spec, Bundles]) -> None:
    _, bundles = network
    assert Bundles.from_json(bundles.to_json()) == bundles
    assert Bundles.from_json(bundles.to_json()).to_json() == bundles.to_json()


def test_tables_and_domains_are_kept_once() -> None:
    spec = Spec(layers=[Layer("a", segments=[1000] * 25, wiring=SmallWorld(k=12, weight=Normal(1, 0.1)))])
    bundles = Bundles.initial(spec)
    assert len(bundles.domains) == len(bundles.tables) == 1
    for _ in range(3):
        bundles, _ = bundles.grow(spec, "a", 10)
    assert (len(bundles.domains), len(bundles.tables)) == (4, 1)


def test_unreadable_bundles_are_damage_and_newer_ones_are_not() -> None:
    spec = Spec(layers=[Layer("a", segments=[200], wiring=SmallWorld(k=2))])
    bundles = Bundles.initial(spec)
    good = bundles.to_json()
    for bad in ("", "{}", "[]", "5", good.replace('"lo":0,', ""), good.replace("SmallWorld", "Smallworld"), good[:-9]):
        with pytest.raises(CatalogDamaged, match="cannot be read"):
            Bundles.from_json(bad)
    content = json.loads(good)
    content["tables"] = ["!" + base64.b64encode(b"12345678").decode()]
    with pytest.raises(CatalogDamaged):
        Bundles.from_json(json.dumps(content))
    with pytest.raises(FormatTooNew, match="format 3"):
        Bundles.from_json(good.replace('"format":1', '"format":3'))
    newer = replace(bundles, bundles=(replace(bundles.bundles[0], generator=2),))
    with pytest.raises(FormatTooNew, match="bundle 0 has generator 2"):
        Wiring(spec, newer)


def test_how_far_rows_are_written_is_told_until_all_are() -> None:
    spec = Spec(layers=[Layer("a", segments=[100], wiring=SmallWorld(k=4, span=9))])
    grown, bundle = Bundles.initial(spec).grow(spec, "a", 50, materialized=True)
    assert (bundle.unwritten, grown.unwritten) == (50, [bundle])
    part = grown.written(bundle.number, 20)
    assert Bundles.from_json(part.to_json()) == part
    assert [(b.lo, b.hi, b.unwritten) for b in part.unwritten] == [(100, 150, 30)]
    whole = part.written(bundle.number, 50)
    assert whole.unwritten == []
    assert "unwritten" not in whole.to_json(), "a document that says nothing of it, such as an old one, has all written"
    assert Bundles.from_json(whole.to_json()) == whole
    _, virtual = whole.grow(spec, "a", 50)
    assert virtual.unwritten == 0
