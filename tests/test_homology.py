"""Betti numbers, components and triangles of graphs: known ones, and random ones against the definition."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb.topology import homology
from engramdb.topology.graph import Graph
from tests import graphs


def random_graph(seed: int, n: int, density: float) -> Graph:
    random = np.random.default_rng(seed)
    edges = [(a, b) for a in range(n) for b in range(n) if random.random() < density]  # both ways, and to itself
    return graphs.graph(n, edges, random.uniform(0.1, 2.0, len(edges)))


def as_networkx(graph: Graph) -> nx.Graph:
    other = nx.Graph()
    other.add_nodes_from(range(len(graph)))
    other.add_edges_from(zip(graph.u.tolist(), graph.v.tolist(), strict=True))
    return other


SMALL = st.builds(random_graph, st.integers(0, 1 << 32), st.integers(1, 24), st.sampled_from([0.02, 0.08, 0.2, 0.5]))


@pytest.mark.parametrize(("name", "of", "b1"), graphs.known(), ids=lambda x: x if isinstance(x, str) else "")
def test_b1_of_known_shapes(name, of, b1):
    graph = graphs.graph(*of)
    assert homology.b1(graph) == b1 == graphs.brute_b1(graph)


@given(SMALL)
def test_b1_is_what_the_definition_says(graph):
    assert homology.b1(graph) == graphs.brute_b1(graph)


def test_b1_of_a_patch_with_many_triangles_is_what_the_definition_says():
    for seed, n, density in ((1, 120, 0.08), (2, 60, 0.3), (3, 200, 0.03)):
        graph = random_graph(seed, n, density)
        assert homology.b1(graph) == graphs.brute_b1(graph)


@given(SMALL)
def test_counts_are_those_of_networkx(graph):
    other, shape = as_networkx(graph), graph.shape
    assert shape.neurons == len(other)
    assert shape.edges == other.number_of_edges()
    assert shape.components == nx.number_connected_components(other)
    assert shape.cycle_rank == len(nx.cycle_basis(other))
    assert shape.triangles == sum(nx.triangles(other).values()) // 3


@given(SMALL)
def test_entropy_is_that_of_the_degrees(graph):
    degrees = np.bincount(np.concatenate([graph.u, graph.v]), minlength=len(graph))
    share = np.unique(degrees, return_counts=True)[1] / len(graph)
    assert np.isclose(graph.shape.degree_entropy, -(share * np.log2(share)).sum())


@given(SMALL, st.randoms(use_true_random=False))
def test_b1_does_not_depend_on_how_vertices_are_numbered(graph, random):
    order = list(range(len(graph)))
    random.shuffle(order)
    renamed = [(order[a], order[b]) for a, b in zip(graph.u.tolist(), graph.v.tolist(), strict=True)]
    assert homology.b1(graphs.graph(len(graph), renamed)) == homology.b1(graph)


def test_holes_alive_at_a_threshold_are_the_b1_there():
    pytest.importorskip("ripser", reason="needs the extra topology")
    for seed in range(4):
        graph = random_graph(seed, 40, 0.08)
        bars = homology.bars(graph)
        for least in (0.0, 0.3, 0.9, 1.5):
            threshold = np.float32(1.0 / least) if least else np.inf
            alive = int(np.count_nonzero((bars[:, 0] <= threshold) & (bars[:, 1] > threshold)))
            if not least:
                alive = int(np.isinf(bars[:, 1]).sum())
            assert alive == homology.b1(graph.at_least(least))


def test_a_ring_is_born_with_its_weakest_synapse_and_filled_by_the_weakest_chord():
    pytest.importorskip("ripser", reason="needs the extra topology")
    square = graphs.graph(4, [*graphs.ring(4)[1], (0, 2)], [1.0, 0.5, 1.0, 1.0, 0.25])
    assert homology.bars(square).tolist() == [[2.0, 4.0]]


def test_edges_of_a_pair_are_one_as_strong_as_the_strongest_or_as_all():
    ids = np.array([3, 7, 9], dtype=np.uint64)
    pre, post = np.array([3, 7, 3, 9, 9, 4], dtype=np.uint64), np.array([7, 3, 3, 7, 11, 3], dtype=np.uint64)
    strongest = Graph.of(ids, pre, post, [1.0, 2.0, 9.0, 4.0, 9.0, 9.0])
    assert (strongest.u.tolist(), strongest.v.tolist(), strongest.strength.tolist()) == ([0, 1], [1, 2], [2.0, 4.0])
    assert Graph.of(ids, pre, post, [1.0, 2.0, 9.0, 4.0, 9.0, 9.0], add=True).strength.tolist() == [3.0, 4.0]
