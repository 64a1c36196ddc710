"""``FORMAT.md`` is enough to read an engram: here it is done with struct, json, sqlite3 and public decoders alone."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import struct
from pathlib import Path

import google_crc32c
import numcodecs.blosc
import numpy as np
import pcodec

from engramdb.store import Store
from engramdb.store.catalog import TABLES, VERSION_COLUMNS
from engramdb.store.pack import STATE, Identity, encode_record, parse_record
from tests.stores import commit, neurons, state_change, writing

FORMAT = (Path(__file__).resolve().parent.parent / "schemas" / "FORMAT.md").read_text()


def number(data: bytes, at: int, nbytes: int) -> int:
    return int.from_bytes(data[at : at + nbytes], "little")


def joined(data: bytes, size: int, width: int) -> bytes:
    """Elements of ``width`` bytes from their planes."""
    planes, at = [], width
    for codec in data[:width]:
        assert codec in (0, 1)
        planes.append(data[at : at + size] if codec == 0 else data[at : at + 1] * size)
        at += size if codec == 0 else 1
    assert at == len(data)
    return bytes(plane[i] for i in range(size) for plane in planes)


def decoded(codec: int, data: bytes, dtype: np.dtype) -> bytes:
    if codec == 3:
        return numcodecs.blosc.decompress(data)
    if codec == 4:
        return pcodec.standalone.simple_decompress(data).tobytes()
    assert codec == 5
    begin = 2 + (data[0] + 1) * dtype.itemsize
    palette = np.frombuffer(data[2:begin], dtype)
    places = decoded(data[1], data[begin:], np.dtype("u1")) if data[1] else data[begin:]
    return b"".join(palette[place].tobytes() for place in places)


def columns(record: bytes) -> dict[str, np.ndarray]:
    """The columns of a record, by the tables of FORMAT.md."""
    assert record[:8] == b"ENGRAMRC"
    header_bytes = number(record, 12, 4)
    assert number(record, 8, 2) == 1
    assert number(record, 16, 8) == len(record)
    assert google_crc32c.value(record[: header_bytes - 4]) == number(record, header_bytes - 4, 4)
    found = {}
    at = 116
    for _ in range(number(record, 112, 4)):
        name_bytes, type_bytes, codec, dimensions = record[at : at + 4]
        offset, nbytes, crc = number(record, at + 4, 8), number(record, at + 12, 8), number(record, at + 20, 4)
        shape = [number(record, at + 24 + 8 * i, 8) for i in range(dimensions)]
        at += 24 + 8 * dimensions
        name = record[at : at + name_bytes].decode()
        dtype = np.dtype(record[at + name_bytes : at + name_bytes + type_bytes].decode())
        at += name_bytes + type_bytes
        data = record[offset : offset + nbytes]
        assert google_crc32c.value(data) == crc
        if codec == 1:
            data = data * math.prod(shape)
        elif codec == 2:
            first, step = struct.unpack("<QQ", data)
            data = np.array([(first + i * step) % 2**64 for i in range(shape[0])], "<u8").astype(dtype).tobytes()
        elif codec == 6:
            data = joined(data, math.prod(shape), dtype.itemsize)
        elif codec != 0:
            data = decoded(codec, data, dtype)
        found[name] = np.frombuffer(data, dtype).reshape(shape)
    assert at == header_bytes - 4
    return found


def test_the_format_document_is_enough_to_read_planes() -> None:
    weight = np.random.default_rng(0).uniform(0.5, 1.5, 3000).astype(np.float32)
    record, _ = encode_record(Identity(STATE, 1, 2), {"weight": weight})
    assert parse_record(record).columns["weight"].codec == 6
    np.testing.assert_array_equal(columns(record)["weight"], weight)


def test_the_format_document_is_enough_to_read_an_engram(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(np.arange(0, 3000, 3), degree=5))
        commit(store, tick=7, message="ü", ring=np.arange(12.0).reshape(3, 4))
        store.write(state_change(range(0, 90, 3), 4))
        commit(store, tick=8)
        store.journal_append("note", 9, {"a": [1]}, {"x": np.arange(3, dtype=np.uint16)})
    catalog = sqlite3.connect(path / "catalog.sqlite")
    assert catalog.execute("PRAGMA application_id").fetchone() == (0x456E6752,)
    assert catalog.execute("PRAGMA user_version").fetchone() == (2,)

    def record(pack: int, offset: int, length: int, crc: int) -> dict[str, np.ndarray]:
        (name,) = catalog.execute("SELECT name FROM packs WHERE pack = ?", (pack,)).fetchone()
        data = (path / "packs" / f"{name}.pack").read_bytes()[offset : offset + length]
        assert number(data, number(data, 12, 4) - 4, 4) == crc
        return columns(data)

    place = catalog.execute(
        "SELECT state_pack, state_offset, state_length, state_crc FROM commits WHERE number = 2"
    ).fetchone()
    np.testing.assert_array_equal(record(*place)["ring"], np.arange(12.0).reshape(3, 4))

    read: dict[int, tuple[int, list[int], list[float]]] = {}
    depths = set()
    place = "pack, offset, length, header_crc"
    newest = catalog.execute(f"SELECT max(number), low, kind, base_line, base, {place} FROM versions GROUP BY low")
    for _, low, kind, line, base, *where in newest.fetchall():
        stack = [record(*where)]
        while kind == 2:
            kind, line, base, *where = catalog.execute(
                f"SELECT kind, base_line, base, {place} FROM versions WHERE line = ? AND low = ? AND number = ?",
                (line, low, base),
            ).fetchone()
            stack.append(record(*where))
        depths.add(len(stack))
        for leaf in reversed(stack):
            far = iter(leaf["target_far"].tolist() if "target_far" in leaf else [])
            at = 0
            for i, neuron in enumerate(leaf["id"].tolist()):
                last_spike = int(leaf["state.last_spike"][i])
                if leaf["row_kind"][i] == 0:
                    read[neuron] = last_spike, *read[neuron][1:]
                    continue
                row = range(at, at + int(leaf["degree"][i]))
                at = row.stop
                targets, walked = [], neuron
                for j in row:
                    step = int(leaf["target_step"][j])
                    walked = (walked + step) % 2**64
                    targets.append(walked if step else next(far))
                read[neuron] = last_spike, targets, leaf["weight"][row.start : row.stop].tolist()
    assert depths == {1, 2}
    with Store.open(path) as store:
        for part in store.scan():
            for i, neuron in enumerate(part.ids.tolist()):
                row = slice(part.indptr[i], part.indptr[i + 1])
                expected = int(part.state["last_spike"][i]), part.target[row].tolist(), part.weight[row].tolist()
                assert read.pop(neuron) == expected
    assert read == {}

    *values, check = catalog.execute("SELECT * FROM commits WHERE number = 2").fetchone()
    assert google_crc32c.value(json.dumps(values, separators=(",", ":")).encode()) == check
    (engram,) = catalog.execute("SELECT value FROM meta WHERE key = 'engram'").fetchone()
    catalog.close()

    journal = (path / "journal" / "1-3").read_bytes()
    assert (journal[:8], number(journal, 16, 8), number(journal, 24, 8)) == (b"ENGRAMJL", 1, 3)
    assert journal[40:56].hex() == engram
    assert google_crc32c.value(journal[:56]) == number(journal, 56, 4)
    frame = journal[60:]
    assert (frame[:4], frame[4], number(frame, 16, 8), number(frame, 24, 8)) == (b"FRAM", 1, 1, 9)
    assert google_crc32c.value(frame[:36]) == number(frame, 36, 4)
    body = frame[40 : 40 + number(frame, 8, 8)]
    assert google_crc32c.value(body) == number(frame, 32, 4)
    document = json.loads(body[4 : 4 + number(body, 0, 4)])
    assert document == {"kind": "note", "meta": {"a": [1]}, "arrays": [["x", "<u2", [3]]]}
    assert body[4 + number(body, 0, 4) :] == np.arange(3, dtype="<u2").tobytes()
    assert frame[40 + len(body) :][:5] == b"FRAM\x03", "the end mark"


def test_the_format_document_names_every_table_and_column() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", FORMAT, re.MULTILINE))
    for table in (*TABLES, "versions"):
        assert table in rows
    for name in VERSION_COLUMNS:
        assert re.search(rf"\b{name}\b", rows["versions"])
    for name in ("run", "block", "layer", "kind", "count", "first_key", "first", "last", "header_crc"):
        assert re.search(rf"\b{name}\b", rows["labels"])


def test_big_endian_and_strided_arrays_are_stored_as_what_they_mean(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        commit(store, ring=np.arange(10, dtype=">u4")[::2])
        found = store.read_state()["ring"]
        np.testing.assert_array_equal(found, [0, 2, 4, 6, 8])
        assert found.dtype == "<u4"
