from __future__ import annotations

import csv
import gzip
import itertools
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import engramdb
from engramdb.errors import AlreadyExists, InvalidInput, NotFound
from engramdb.interchange.numbering import DiskNumbering
from engramdb.interchange.source import Texts
from engramdb.store import Store
from tests.edgelists import expected, order_of, rows_of, stored, write_csv

TINY = 1 << 10  # bytes: every table overflows and every sort spills
nasty_labels = ["a", "b", "B", "ä", "x,y", 'say "hi"', " spaced ", "7", "007", "18446744073709551616", "日本", "a b"]
number_labels = [*"0127", "10", *(str(number) for number in (2**32, 2**63 - 1, 2**63, 2**64 - 1))]
weights = st.one_of(st.integers(-20, 20).map(float), st.floats(-100, 100, width=32))


def edge_lists(labels: list[str], most: int = 40) -> st.SearchStrategy[list[tuple[str, str, float]]]:
    label = st.sampled_from(labels)
    return st.lists(st.tuples(label, label, weights), min_size=1, max_size=most)


edge_list = st.one_of(edge_lists(nasty_labels), edge_lists(number_labels), edge_lists(nasty_labels[7:] + number_labels))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_text(path: Path, edges: list[tuple[str, str, float]], **form: object) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n", **form)  # type: ignore[arg-type]
        writer.writerow(["pre", "post", "weight"])
        writer.writerows(edges)
    return path


# ---- what the network becomes


@given(edges=edge_list, duplicates=st.sampled_from(["sum", "keep"]), parquet=st.booleans())
@example(edges=[("a", "a", 0.1), ("a", "a", 0.2), ("a", "a", -0.3)], duplicates="sum", parquet=False)
def test_an_edge_list_becomes_the_network_that_a_dict_becomes(
    edges: list[tuple[str, str, float]], duplicates: str, parquet: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / ("edges.parquet" if parquet else "edges.csv")
        if parquet:
            columns = [list(column) for column in zip(*edges, strict=True)]
            pq.write_table(pa.table(columns, names=["pre", "post", "weight"]), source)
        else:
            write_text(source, edges)
        path = Path(name) / "net.engram"
        report = engramdb.import_edges(source, path, duplicates=duplicates)
        assert stored(path) == expected(edges, duplicates)
        labels = {label for pre, post, _ in edges for label in (pre, post)}
        ordered = sorted(labels, key=str.encode) if parquet else order_of(labels)
        with Store.open(path) as store:
            assert store.labels_of(np.arange(len(ordered), dtype=np.uint64)) == ordered
            assert store.label_ids(ordered).tolist() == list(range(len(ordered)))
        assert (report.rows, report.accepted, report.rejected) == (len(edges), len(edges), 0)
        assert report.neurons == len(ordered)


@given(edges=edge_lists(nasty_labels), order=st.randoms(use_true_random=False))
def test_the_order_of_lines_never_matters(edges: list[tuple[str, str, float]], order: object) -> None:
    shuffled = list(edges)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as name:
        rows = []
        for number, listed in enumerate((edges, shuffled)):
            path = Path(name) / f"{number}.engram"
            engramdb.import_edges(write_text(Path(name) / "edges.csv", listed), path, duplicates="keep")
            rows.append(rows_of(path))
        assert rows[0] == rows[1]


@pytest.mark.parametrize("kind", ["small", "sparse", "text"])
@pytest.mark.parametrize("duplicates", ["sum", "keep"])
def test_memory_never_matters(folder: Path, kind: str, duplicates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    numbers = random.integers(0, 300, (2, 6000))
    numbers = {"small": numbers, "sparse": numbers * 7**20, "text": numbers}[kind]
    names = [[f"n{i}" if kind == "text" else str(i) for i in column] for column in numbers.tolist()]
    edges = list(zip(*names, random.integers(-3, 4, 6000) / 4, strict=True))
    source = write_csv(folder / "edges.csv", edges)
    engramdb.import_edges(source, folder / "1GiB.engram", duplicates=duplicates)
    on_disk: list[Path] = []
    finish = DiskNumbering.finish
    monkeypatch.setattr(DiskNumbering, "finish", lambda self: (on_disk.append(self._folder), finish(self))[1])
    engramdb.import_edges(source, folder / f"{TINY}.engram", memory=TINY, duplicates=duplicates)
    assert on_disk, "so little memory should have sent the labels to the disk"
    assert rows_of(folder / "1GiB.engram") == rows_of(folder / f"{TINY}.engram")
    assert stored(folder / "1GiB.engram") == expected(edges, duplicates)


def test_texts_with_one_hash_stay_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edges = [(f"n{i}", f"n{i // 2}", 1.0) for i in range(2000)]
    source = write_csv(folder / "edges.csv", edges)
    keys, salts = DiskNumbering._keys, set()

    def weak_keys(self: DiskNumbering, labels: Texts, salt: np.uint64) -> np.ndarray:
        salts.add(int(salt))
        return keys(self, labels, salt) & np.uint64(0xFF if salt < 2 else 2**64 - 1)

    monkeypatch.setattr(DiskNumbering, "_keys", weak_keys)
    engramdb.import_edges(source, folder / "net.engram", memory=TINY)
    assert salts >= {0, 1, 2}
    assert stored(folder / "net.engram") == expected(edges)


def test_every_labelled_neuron_has_a_record_even_without_synapses(folder: Path) -> None:
    source = write_csv(folder / "edges.csv", [("a", "sink", 1)])
    engramdb.import_edges(source, folder / "net.engram")
    with engramdb.open(folder / "net.engram") as e:
        assert e.neuron("sink").state == "dormant"
        assert e.neuron("sink").out_degree == 0
        assert e.labels(e.synapses("a").targets) == ["sink"]


def test_an_imported_network_runs(folder: Path) -> None:
    source = write_csv(folder / "edges.csv", [("a", "b", 1), ("b", "c", 1)])
    engramdb.import_edges(source, folder / "net.engram", weight_scale=20, delay_ms=2, layer="cord", params={"tau": 10})
    with engramdb.open(folder / "net.engram", "r+") as e:
        assert e.spec.layer("cord").params["tau"] == 10
        e.stimulate("a", 20)
        assert e.run(6, record=("spikes",)).spikes[0].tolist() == [1, 3, 5]


# ---- ids


def test_kept_ids_declare_the_layers_segments_and_projections_that_occur(folder: Path) -> None:
    one, two, three = (engramdb.address.pack(*parts) for parts in ((0, 0, 5), (0, 3, 2**32 - 1), (65535, 0, 0)))
    edges = [(one, two, 1.0), (two, three, 2.0), (three, three, 3.0)]
    source = write_csv(folder / "edges.csv", edges)
    report = engramdb.import_edges(source, folder / "net.engram", ids="keep", layer="area", delay_ms=3)
    assert rows_of(folder / "net.engram") == [(one, two, 0, 1.0), (two, three, 1, 2.0), (three, three, 2, 3.0)]
    with Store.open(folder / "net.engram") as store:
        assert [(layer.name, layer.index, layer.domain) for layer in store.spec.layers] == [
            ("area-0", 0, ((0, 6), (3, 2**32))),
            ("area-65535", 65535, ((0, 1),)),
        ]
        joined = [(p.pre, p.post, p.delay_ms) for p in store.spec.all_projections]
        assert joined == [("area-0", "area-0", 3), ("area-0", "area-65535", 3), ("area-65535", "area-65535", 3)]
        assert not store.has_labels
    assert report.neurons == 3


layers = segments = st.sampled_from([0, 1, 9, 65535])
ids = st.builds(engramdb.address.pack, layers, segments, st.sampled_from([0, 1, 2**32 - 1])).map(str)


@given(pairs=st.lists(st.tuples(ids, ids), min_size=1))
def test_kept_ids_are_the_ids_given(pairs: list[tuple[str, str]]) -> None:
    edges = [(pre, post, 1.0) for pre, post in pairs]
    with tempfile.TemporaryDirectory() as name:
        source = write_csv(Path(name) / "edges.csv", edges)
        path = Path(name) / "net.engram"
        engramdb.import_edges(source, path, ids="keep")
        assert stored(path) == expected(edges)
        with Store.open(path) as store:
            projections = store.spec.all_projections
            for pre, post, projection, _ in rows_of(path):
                ends = [store.spec.layer(end >> 48).name for end in (pre, post)]
                assert [projections[projection].pre, projections[projection].post] == ends


def test_ids_are_kept_whatever_the_memory(folder: Path) -> None:
    random = np.random.default_rng(2)
    parts = (random.integers(0, top, (2, 3000)) for top in (3, 4, 100))
    pre, post = engramdb.address.pack(*parts)
    source = write_csv(folder / "edges.csv", list(zip(pre.tolist(), post.tolist(), range(3000), strict=True)))
    for memory in ("1GiB", TINY):
        engramdb.import_edges(source, folder / f"{memory}.engram", ids="keep", memory=memory, duplicates="keep")
    rows = rows_of(folder / "1GiB.engram")
    assert rows == rows_of(folder / f"{TINY}.engram")
    assert sorted((a, b, w) for a, b, _, w in rows) == sorted(
        zip(pre.tolist(), post.tolist(), range(3000), strict=True)
    )


def test_texts_cannot_be_kept_as_ids(folder: Path) -> None:
    source = write_csv(folder / "edges.csv", [("1", "2", 1), ("1", "AVAL", 1)])
    with pytest.raises(InvalidInput, match='"AVAL" is no integer'):
        engramdb.import_edges(source, folder / "net.engram", ids="keep")
    assert names_in(folder) == ["edges.csv"]


@pytest.mark.parametrize("kind", ["int8", "uint32", "int64", "uint64", "dictionary"])
def test_parquet_integers_of_any_width_are_integers(folder: Path, kind: str) -> None:
    column = pa.array([9, 10, 9])
    column = column.dictionary_encode() if kind == "dictionary" else column.cast(kind)
    pq.write_table(pa.table({"pre": column, "post": column}), folder / "edges.parquet")
    assert engramdb.import_edges(folder / "edges.parquet", folder / "net.engram").labels == "integers"
    with Store.open(folder / "net.engram") as store:
        assert store.labels_of(np.array([0, 1], dtype=np.uint64)) == ["9", "10"]


def test_parquet_texts_stay_texts_and_nulls_are_rejected(folder: Path) -> None:
    texts = pa.array(["9", "10", None]).dictionary_encode()
    table = pa.table({"pre": texts, "post": [1, -2, 3], "weight": ["1", "2", "3"]})
    pq.write_table(table, folder / "e.parquet")
    report = engramdb.import_edges(folder / "e.parquet", folder / "net.engram")
    assert report.labels == "texts"
    assert report.first_rejected == [(3, "pre is empty", ",3,3")]
    with Store.open(folder / "net.engram") as store:
        assert store.labels_of(np.arange(4, dtype=np.uint64)) == ["-2", "1", "10", "9"]


def test_negative_integers_in_parquet_are_rejected(folder: Path) -> None:
    pq.write_table(pa.table({"pre": [1, -5, 1], "post": [2, 2, 3], "weight": [1.0, 1.0, None]}), folder / "e.parquet")
    report = engramdb.import_edges(folder / "e.parquet", folder / "net.engram")
    assert [(line, reason) for line, reason, _ in report.first_rejected] == [
        (2, "pre -5 is negative"),
        (3, 'weight "nan" is not a finite number'),
    ]


# ---- text in all its forms


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("pre,post,weight\na,b,1.5\nb,a,2\n", {}),
        ("\ufeffpre,post,weight\r\na,b,1.5\r\nb,a,2\r\n", {}),
        ("\ufeffa,b,1.5\nb,a,2", {}),
        ("pre,post,weight\ra,b,1.5\rb,a,2", {}),
        ("pre,post,weight\r\na,b,1.5\nb,a,2\r\n", {}),
        ("\n\npre,post,weight\n\na,b,1.5\n  \nb,a,2\n\n", {}),
        ("# from somewhere\n#\npre\tpost\tweight\na\tb\t1.5\nb\ta\t2\n", {}),
        ("a b 1.5\nb  a   2 \n", {}),
        (" a\tb 1.5\nb a\t2\n", {"delimiter": " "}),
        ("weight;kind;post;pre\n1.5;x;b;a\n2;x;a;b\n", {}),
        ('"pre" , "post","weight"\n "a" ,b, "1.5"\nb,"a",+2e0\n', {}),
        ("a|b|1.5\nb|a|2\n", {"header": False}),
        ("source,target,n\na,b,15\nb,a,20\n", {"pre": "source", "post": "target", "weight": "n", "weight_scale": 0.1}),
        ("x,a,b,1.5\ny,b,a,2\n", {"pre": "2", "post": "3", "weight": "4", "header": False}),
        ("a:b:1.5\nb:a:2\n", {"delimiter": ":"}),
        ("pre,post,weight,kind\na,b,1.5,c\na,b,7,g\nb,a,2,c\n", {"where": "kind=c"}),
        ("pre,post,weight,kind,side\na,b,1.5,c,l\na,b,7,c,r\nb,a,2,c,l\n", {"where": ["kind=c", "side=l"]}),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".txt.gz"])
def test_text_is_read_in_all_its_forms(folder: Path, text: str, options: dict[str, object], suffix: str) -> None:
    source = folder / f"edges{suffix}"
    source.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    engramdb.import_edges(source, folder / "net.engram", **options)  # type: ignore[arg-type]
    assert stored(folder / "net.engram") == {("a", "b"): [1.5], ("b", "a"): [2.0]}


def test_weights_default_to_one_and_columns_are_not_guessed_from_numbers(folder: Path) -> None:
    (folder / "edges.tsv").write_text("1\t2\n2\t3\n")
    engramdb.import_edges(folder / "edges.tsv", folder / "net.engram")
    assert stored(folder / "net.engram") == {("1", "2"): [1.0], ("2", "3"): [1.0]}


@pytest.mark.parametrize("sign", ["-1", "-", "inh", "Inhibitory", "INH", "-1.0"])
def test_a_sign_column_makes_weights_magnitudes(folder: Path, sign: str) -> None:
    source = write_csv(
        folder / "edges.csv",
        [("a", "b", 2, sign), ("a", "c", 2, "exc"), ("a", "d", -2, "1"), ("a", "e", 2, "0")],
        ("pre", "post", "weight", "sign"),
    )
    report = engramdb.import_edges(source, folder / "net.engram")
    assert stored(folder / "net.engram") == {("a", "b"): [-2.0], ("a", "c"): [2.0]}
    assert [reason for _, reason, _ in report.first_rejected] == [
        "weight -2 is negative although sign gives the sign",
        'sign "0" is none of -1, +1, -, +, inh, exc',
    ]


def test_lines_longer_than_a_block_are_read(folder: Path) -> None:
    long = "x" * 60_000
    other = "y" * 60_000
    filler = "z" * 9_000_000
    (folder / "edges.csv").write_text(f"pre,post,weight,note\n{long},{other},1,{filler}\n{other},{long},2,\n")
    engramdb.import_edges(folder / "edges.csv", folder / "net.engram")
    assert stored(folder / "net.engram") == {(long, other): [1.0], (other, long): [2.0]}


# ---- what cannot be used


def test_rows_that_cannot_be_used_are_counted_and_shown_and_the_rest_is_imported(folder: Path) -> None:
    lines = [
        b"pre,post,weight,kind",
        b"a,b,1,x",
        b"a,b",
        b"a,b,1,x,y",
        b"a,b,zz,x",
        b"a,b,nan,x",
        b"a,b,,x",
        b",b,1,x",
        b'a,"b,1,x',
        b"a,b,1e5,x",
        b"",
        b"a,\xff,1,x",
        b"a,b,1_0,x",
        b"c,d,1,x",
        b"a,b,-inf,x",
        b"a,b,1",
    ]
    (folder / "edges.csv").write_bytes(b"\n".join(lines))
    report = engramdb.import_edges(folder / "edges.csv", folder / "net.engram")
    assert report.first_rejected == [
        (3, "2 fields instead of 4", "a,b"),
        (4, "5 fields instead of 4", "a,b,1,x,y"),
        (5, 'weight "zz" is not a finite number', "a,b,zz,x"),
        (6, 'weight "nan" is not a finite number', "a,b,nan,x"),
        (7, "weight is empty", "a,b,,x"),
        (8, "pre is empty", ",b,1,x"),
        (9, "a quote is not closed", 'a,"b,1,x'),
        (10, "weight 1e5 is beyond 16384 mV", "a,b,1e5,x"),
        (12, "not UTF-8", "a,\N{REPLACEMENT CHARACTER},1,x"),
        (13, 'weight "1_0" is not a finite number', "a,b,1_0,x"),
    ]
    assert (report.rows, report.accepted, report.filtered, report.rejected) == (14, 2, 0, 12)
    assert stored(folder / "net.engram") == {("a", "b"): [1.0], ("c", "d"): [1.0]}


def test_line_numbers_hold_far_into_a_file(folder: Path) -> None:
    lines = ["pre,post,weight"] + ["1,2,3"] * 400_000
    for at in (7, 131_072, 299_999, 400_000):
        lines[at] = "1,2"
    (folder / "edges.csv").write_text("\n".join(lines))
    report = engramdb.import_edges(folder / "edges.csv", folder / "net.engram", weight_scale=1e-3)
    assert [line for line, _, _ in report.first_rejected] == [8, 131_073, 300_000, 400_001]
    assert report.accepted == 399_996


def test_strict_makes_a_bad_row_an_error(folder: Path) -> None:
    source = write_csv(folder / "edges.csv", [("a", "b", 1), ("a", "b", "x")])
    with pytest.raises(InvalidInput, match=r'edges.csv line 3: weight "x" is not a finite number'):
        engramdb.import_edges(source, folder / "net.engram", strict=True)
    assert names_in(folder) == ["edges.csv"]


def test_sums_beyond_the_bound_name_the_pair(folder: Path) -> None:
    source = write_csv(folder / "edges.csv", [("aval", "avar", 10_000)] * 2)
    with pytest.raises(InvalidInput, match="from aval to avar sum to 20000 mV"):
        engramdb.import_edges(source, folder / "net.engram")
    engramdb.import_edges(source, folder / "net.engram", duplicates="keep")
    assert stored(folder / "net.engram") == {("aval", "avar"): [10_000.0] * 2}


@pytest.mark.parametrize(
    ("name", "content", "options", "error", "message"),
    [
        ("e.csv", b"source,target\na,b\n", {}, InvalidInput, 'no column "pre"; it has source, target'),
        ("e.csv", b"pre,post\na,b\n", {"weight": "w"}, InvalidInput, 'no column "w"; it has pre, post'),
        ("e.csv", b"pre,post\na,b\n", {"where": "kind=x"}, InvalidInput, 'no column "kind"'),
        ("e.csv", b"pre,post\na,b\n", {"where": "kind"}, InvalidInput, "expected column=value"),
        ("e.csv", b"pre,post\na,\n", {}, InvalidInput, "none of 1 rows could be used: line 2: post is empty"),
        ("e.csv", b"pre,post\n", {}, InvalidInput, "none of 0 rows"),
        ("e.csv", b"", {}, InvalidInput, "holds no edges"),
        ("e.csv", b"\xff\xfea\0", {}, InvalidInput, "UTF-16"),
        ("e.csv", b"pre,post\na\0,b\n", {}, InvalidInput, "not text"),
        ("e.csv.gz", b"pre,post\na,b\n", {}, InvalidInput, "damaged gzip"),
        ("e.csv.gz", gzip.compress(b"pre,post\na,b\n", mtime=0)[:-9], {}, InvalidInput, "damaged gzip"),
        ("e.parquet", b"PAR1", {}, InvalidInput, "no readable Parquet file"),
        ("e.xlsx", b"", {}, InvalidInput, "cannot tell the format"),
        ("e.csv", b"pre,post\na,b\n", {"ids": "best"}, InvalidInput, 'ids="best"'),
        ("e.csv", b"pre,post\na,b\n", {"duplicates": "drop"}, InvalidInput, 'duplicates="drop"'),
        ("e.csv", b"pre,post\na,b\n", {"delimiter": ",,"}, InvalidInput, "one ASCII character"),
        ("e.csv", b"pre,post\na,b\n", {"weight_scale": float("nan")}, InvalidInput, "weight_scale=nan"),
        ("e.csv", b"pre,post\na,b\n", {"params": {"tau": -1}}, InvalidInput, "tau"),
        ("e.csv", b"pre,post\na,b\n", {"memory": "lots"}, InvalidInput, "lots"),
        (None, b"", {}, NotFound, "there is no such file"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    folder: Path, name: str | None, content: bytes, options: dict[str, object], error: type[Exception], message: str
) -> None:
    source = folder / (name or "nothing.csv")
    if name:
        source.write_bytes(content)
    before = names_in(folder)
    with pytest.raises(error, match=message) as caught:
        engramdb.import_edges(source, folder / "net.engram", **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert names_in(folder) == before


def test_parquet_columns_of_other_types_are_refused(folder: Path) -> None:
    pq.write_table(pa.table({"pre": [1.5], "post": [1]}), folder / "e.parquet")
    with pytest.raises(InvalidInput, match="column pre holds double; labels are integers or texts"):
        engramdb.import_edges(folder / "e.parquet", folder / "net.engram")
    pq.write_table(pa.table({"pre": [1], "post": [1], "weight": [[1]]}), folder / "e.parquet")
    with pytest.raises(InvalidInput, match="column weight holds list"):
        engramdb.import_edges(folder / "e.parquet", folder / "net.engram")


def test_a_damaged_parquet_page_is_one_clear_line(folder: Path) -> None:
    table = pa.table({"pre": np.arange(50_000), "post": np.arange(50_000)})
    pq.write_table(table, folder / "e.parquet", use_dictionary=False, write_page_checksum=True)
    data = bytearray((folder / "e.parquet").read_bytes())
    data[1000:3000] = bytes(2000)
    (folder / "e.parquet").write_bytes(data)
    with pytest.raises(InvalidInput, match=r"e.parquet is damaged"):
        engramdb.import_edges(folder / "e.parquet", folder / "net.engram")
    assert names_in(folder) == ["e.parquet"]


# ---- whole or not at all


def test_nothing_that_exists_is_overwritten(folder: Path) -> None:
    source = write_csv(folder / "edges.csv", [("a", "b", 1)])
    (folder / "net.engram").mkdir()
    with pytest.raises(AlreadyExists, match=r"net.engram exists already"):
        engramdb.import_edges(source, folder / "net.engram")
    with pytest.raises(NotFound, match="is not a folder"):
        engramdb.import_edges(source, folder / "missing" / "net.engram")


@pytest.mark.parametrize("stage", ["read", "sort", "write"])
def test_an_import_that_is_broken_off_leaves_nothing(folder: Path, stage: str) -> None:
    source = write_csv(folder / "edges.csv", [("a", "b", 1)])

    def stop(*step: object) -> None:
        if step[0] == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engramdb.import_edges(source, folder / "net.engram", progress=stop)
    assert names_in(folder) == ["edges.csv"]


def test_progress_tells_what_is_done(folder: Path) -> None:
    source = write_csv(folder / "edges.csv", [("a", "b", 1), ("b", "c", 1)])
    told: list[tuple[str, int, int | None]] = []
    engramdb.import_edges(source, folder / "net.engram", progress=lambda *step: told.append(step))
    assert [stage for stage, _ in itertools.groupby(told, key=lambda step: step[0])] == ["read", "sort", "write"]
    assert max(done for stage, done, _ in told if stage == "read") == source.stat().st_size
    assert told[-1] == ("write", 2, 2)


def test_a_killed_import_leaves_no_engram_and_the_next_one_clears_up(folder: Path) -> None:
    source = write_csv(folder / "edges.csv", [("a", "b", 1)])
    script = textwrap.dedent(
        f"""
        import time, engramdb
        def wait(stage, done, total):
            if stage == "write":
                print("here", flush=True)
                time.sleep(600)
        engramdb.import_edges({str(source)!r}, {str(folder / "net.engram")!r}, progress=wait)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        left = [name for name in names_in(folder) if name.startswith(".net.engram.making-")]
        assert len(left) == 1
        # while it lives, its work is not touched by another import to the same place
        engramdb.import_edges(source, folder / "other.engram")
        with pytest.raises(KeyboardInterrupt):
            engramdb.import_edges(source, folder / "net.engram", progress=_interrupt)
        assert left[0] in names_in(folder)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (folder / "net.engram").exists()
    assert left[0] in names_in(folder)
    engramdb.import_edges(source, folder / "net.engram")
    assert names_in(folder) == ["edges.csv", "net.engram", "other.engram"]
    assert engramdb.verify(folder / "net.engram").problems == []


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
