"""A comparison whose engines are addresses: each variant has an index of its own there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from addresses import documents, file
from command_line import run
from splade_bridge.comparison.compare import compare
from splade_bridge.comparison.read_spec import load_spec
from splade_bridge.engines.registry import connect
from splade_bridge.errors import BadInputError
from splade_bridge.files.address import Address, place_of

TERMS = list("abcdefgh")
SPEC = """
title = "addresses"
baseline = "full"
[data]
documents = "docs.jsonl"
queries = "q.jsonl"
qrels = "qrels"
measures = ["nDCG@10"]
depth = 20
[engines]
exact = []
"{address}" = []
[bench]
ks = [2]
repeat = 1
queries = 3
[[variant]]
name = "full"
[[variant]]
name = "less"
prune_documents = [{{ method = "top-k", value = 3 }}]
"""


@pytest.fixture
def spec(tmp_path: Path, address: Address) -> Path:
    """Of an engine exact and an address."""
    ids = [f"d{i}" for i in range(40)]
    file(tmp_path / "docs.jsonl", {i: v or {"a": 1} for i, v in documents(1, ids, TERMS).items()})
    queries = {f"q{i}": v or {"b": 1} for i, v in enumerate(documents(2, ids[:6], TERMS).values())}
    file(tmp_path / "q.jsonl", queries)
    (tmp_path / "qrels").write_text("".join(f"q{i} 0 d{i} 1\n" for i in range(6)))
    # The file or folder of an engine without a server lies below the output.
    text = f"{address.scheme}:{address.name}" if address.folder else str(address)
    (tmp_path / "spec.toml").write_text(SPEC.format(address=text))
    return tmp_path / "spec.toml"


def places(out: Path) -> list[Address]:
    found = []
    for step in sorted(out.glob("work/index/*/step.json")):
        told = json.loads(step.read_text())["outcome"]
        if "address" in told:
            place = place_of(told["address"])
            assert isinstance(place, Address)
            found.append(place)
    return found


def exists(place: Address) -> bool:
    with connect(place) as index:
        return index.exists()


@pytest.mark.sample(1)
def test_each_variant_is_loaded_searched_timed_and_dropped(
    spec: Path, address: Address, capfd: pytest.CaptureFixture[str]
) -> None:
    out = spec.parent / "out"
    status, said, err = run(capfd, "compare", spec, "-o", out, "--json")
    assert status == 0, err
    told = json.loads(said)["comparison"]
    name = next(engine for engine in told["algorithms"] if engine != "exact")
    assert name in told["versions"]
    for variant in told["variants"]:
        assert variant["engines_agree"]
        assert {index["engine"] for index in variant["indexes"]} == {"exact", name}
        assert {timed["engine"] for timed in variant["latencies"]} == {"exact", name}
    assert len(places(out)) == 2 and all(map(exists, places(out)))
    again = json.loads(run(capfd, "compare", spec, "-o", out, "--json")[1])
    assert again["steps_done"] == {}
    for chart in out.glob("charts/*.svg"):
        assert ":" not in chart.name and "/" not in chart.name

    with connect(places(out)[0]) as index:  # somebody threw it away: it is loaded again
        index.drop()
    status, _, err = run(capfd, "compare", spec, "-o", out, "--rebench", "--drop-indexes")
    assert status == 0 and all(not exists(place) for place in places(out)), err


def wrong(tmp_path: Path, address: str, **more: Any) -> Path:
    (tmp_path / "spec.toml").write_text(SPEC.format(address=address))
    return tmp_path / "spec.toml"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("qdrant:some/where", "give its name alone, as qdrant:where"),
        ("opensearch://u:secret@h/i", "holds a password"),
        ("opensearch://h", "an address is opensearch://HOST:PORT/INDEX"),
        ("solr://h/i", "no engine is called solr"),
        ("solr", "there are lucene, pisa, exact, seismic, impact-index, and addresses"),
    ],
)
def test_what_is_no_engine(tmp_path: Path, address: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        compare(load_spec(wrong(tmp_path, address), None), tmp_path / "out")
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "out").exists()
