"""Imports and exports over HTTP, and checks: jobs that read and write files."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import httpx
import numpy as np
import pytest

import engramdb
from tests.service.served import EXAMPLE, finished, problem

OCTETS = {"content-type": "application/octet-stream"}


def test_what_is_exported_and_imported_again_is_the_same(api: httpx.Client, root: Path) -> None:
    whole = api.get(EXAMPLE + "/export?format=hdf5&at=driven")
    assert whole.status_code == 200
    assert whole.headers["content-disposition"] == 'attachment; filename="brain.h5"'
    answer = api.post("/v1/import?format=hdf5&name=again", content=whole.content, headers=OCTETS)
    job = finished(api, answer)
    assert (job["state"], job["result"]["engram"]) == ("done", "again")
    with engramdb.open(root / "brain.engram", at="driven") as a, engramdb.open(root / "again.engram") as b:
        assert a.tick == b.tick
        assert a.neurons(range(800)).fields["v"].tolist() == b.neurons(range(800)).fields["v"].tolist()
    problem(api.post("/v1/import?format=hdf5&name=again", content=b"x", headers=OCTETS), 409, "already-exists")
    assert not list((root / ".engramdb-service/results").glob("*/source*"))


@pytest.mark.parametrize("form", ["csv", "edges.parquet"])
def test_edges_go_out_and_come_in(api: httpx.Client, root: Path, form: str) -> None:
    edges = api.get(EXAMPLE + f"/export?format={form}&at=driven&layer=exc").content
    answer = api.post(f"/v1/import?format={form}&name={form.replace('.', '-')}&ids=keep", content=edges, headers=OCTETS)
    job = finished(api, answer)
    assert job["state"] == "done", job
    with engramdb.open(root / "brain.engram", at="driven") as engram:
        rows = engram.rows(range(800))
    pairs = set(zip(np.repeat(np.arange(800), np.diff(rows.indptr)).tolist(), rows.target.tolist(), strict=True))
    assert job["result"]["synapses"] == len(pairs)  # of those of one pair the weights are summed


def test_a_folder_comes_as_tar(api: httpx.Client) -> None:
    answer = api.get(EXAMPLE + "/export?format=parquet&at=driven")
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        assert {Path(name).parts[0] for name in tar.getnames()} == {"brain-parquet"}


def test_an_export_can_be_a_job_whose_file_goes_with_it(api: httpx.Client, root: Path) -> None:
    answer = api.get(EXAMPLE + "/export?format=csv.gz&job=1")
    job = finished(api, answer)
    assert job["state"] == "done", job
    body = api.get(job["result"]["file"])
    assert len(body.content) == job["result"]["bytes"]
    assert (root / ".engramdb-service/results" / job["id"]).is_dir()
    assert api.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert not (root / ".engramdb-service/results" / job["id"]).exists()


def test_wrong_bodies_and_names_are_problems(api: httpx.Client) -> None:
    job = finished(api, api.post("/v1/import?format=csv&name=bad", content=b"\x00\xff" * 50, headers=OCTETS))
    assert job["state"] == "failed"
    assert job["error"]["status"] == 422
    problem(api.get("/v1/engrams/bad"), 404, "no-such-engram")
    problem(api.post("/v1/import?format=docx&name=bad", content=b"x", headers=OCTETS), 422, "invalid-request")
    problem(api.post("/v1/import?format=csv&name=../bad", content=b"x", headers=OCTETS), 422, "invalid-name")
    problem(api.get(EXAMPLE + "/export?format=csv&at=nowhere"), 404, "not-found")
    problem(api.get(EXAMPLE + "/export?format=vdm"), 422, "invalid-input")
    problem(api.get(EXAMPLE + "/export?format=csv&layer=cortex"), 404, "not-found")


@pytest.mark.parametrize(
    ("form", "body", "said"),
    [("csv", b"Alice\nBob\n", 'the file sent has no column "2"; it has 1: say which one is meant with post='),
     ("csv", b"source,target\na,b\n", "the file sent has no column \"pre\"; it has source, target"),
     ("csv", b"pre,post,weight\na,b,x\n", 'the file sent holds no edges: none of 1 rows could be used: line 2'),
     ("csv.gz", b"pre,post\n", "the file sent is a damaged gzip file"),
     ("edges.parquet", b"x", "the file sent is no readable Parquet file"),
     ("hdf5", b"x", "the file sent is no readable HDF5 file"), ("vdm", b"x", "the file sent is no readable VDM")],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_to_who_sent_it(
    api: httpx.Client, root: Path, form: str, body: bytes, said: str
) -> None:
    job = finished(api, api.post(f"/v1/import?format={form}&name=wrong", content=body, headers=OCTETS))
    assert (job["state"], job["error"]["status"]) == ("failed", 422)
    assert said in job["error"]["detail"]
    for inside in ("source.", ".engramdb", str(root), "header=False"):
        assert inside not in str(job).replace("source, target", "")


def test_columns_can_be_named(api: httpx.Client) -> None:
    body = b"source;target;mV\nAlice;Bob;3\nAlice;Bob;2\n"
    names = {
        "pre": "source",
        "post": "target",
        "weight": "mV",
        "delimiter": ";",
        "header": "true",
        "duplicates": "keep",
    }
    answer = api.post("/v1/import", params={"format": "csv", "name": "named", **names}, content=body, headers=OCTETS)
    job = finished(api, answer)
    assert (job["state"], job["result"]["synapses"]) == ("done", 2), job
    headless = {"format": "tsv", "name": "headless", "header": "false"}
    job = finished(api, api.post("/v1/import", params=headless, content=b"Alice\tBob\nBob\tEve\n", headers=OCTETS))
    assert (job["state"], job["result"]["neurons"]) == ("done", 3), job


def test_verify_says_that_all_is_well_or_what_is_not(api: httpx.Client, root: Path) -> None:
    job = finished(api, api.post(EXAMPLE + "/verify"))
    assert job["result"]["ok"] is True
    assert job["result"]["checked"]["commits"] >= 2
    problem(api.post("/v1/engrams/nobody/verify"), 404, "no-such-engram")
    spec = engramdb.Spec(layers=[engramdb.Layer("a", segments=[10])])
    with engramdb.create(root / "rotten.engram", spec) as engram:
        engram.stimulate([1], 20.0)
        engram.run(2)
    (pack,) = (root / "rotten.engram/packs").iterdir()
    content = bytearray(pack.read_bytes())
    content[-8] ^= 1
    pack.write_bytes(bytes(content))
    job = finished(api, api.post("/v1/engrams/rotten/verify"))
    assert job["result"]["ok"] is False
    assert str(root) not in str(job)
