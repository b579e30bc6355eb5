"""The page's API: what it answers is what the command line says of the same indexes.

The oracles are ``search``, ``explain`` and ``evaluate`` themselves, and brute force.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import splade_bridge as sb
from bad_input import made
from checkpoints import one_thread, save_checkpoint  # noqa: F401
from command_line import run
from documented import faults
from served import descendants, is_alive, make_indexes, make_texts, serving
from small import hear_sigint, write_json_lines
from splade_bridge.engines.registry import engine
from splade_bridge.errors import MissingToolError, UsageError

httpx = pytest.importorskip("httpx")
pytest.importorskip("torch")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from splade_bridge.retrieval.terms import Term  # noqa: E402
from splade_bridge.server.app import ASSETS, application  # noqa: E402
from splade_bridge.server.listening import listening, names_of  # noqa: E402
from splade_bridge.server.openapi import document  # noqa: E402
from splade_bridge.server.opening import ServeOptions, opened  # noqa: E402
from splade_bridge.server.page_files import asset_text  # noqa: E402
from splade_bridge.server.paths import PATHS  # noqa: E402
from splade_bridge.server.served import Served, changed, labels_of  # noqa: E402

MEASURE = "nDCG@10"


@dataclass(frozen=True)
class World:
    folder: Path
    served: Served
    asgi: Any

    def get(self, path: str, status: int = 200, headers: dict[str, str] | None = None,
            **given: Any) -> Any:  # fmt: skip
        """The answer to one request, through the whole application."""

        async def ask() -> Any:
            transport = httpx.ASGITransport(app=self.asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as ours:
                return await ours.get(path, params=given, headers=headers)

        answer = asyncio.run(ask())
        assert answer.status_code == status, answer.text
        return answer

    def json(self, path: str, status: int = 200, **given: Any) -> Any:
        return self.get(path, status, **given).json()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two exact indexes, one of them pruned, with texts and judged queries."""
    folder = make_indexes(tmp_path_factory.mktemp("serve"), 60, 12)
    options = ServeOptions(
        (str(folder / "model"),),
        corpus=str(folder),
        queries=str(folder),
        qrels=folder,
        split="test",
    )
    with opened([folder / "full", folder / "pruned"], options) as served:
        yield World(folder, served, application(served, 4, names_of("127.0.0.1")))


def asked(world: World) -> dict[str, str]:
    lines = (world.folder / "queries.jsonl").read_text().splitlines()
    return {record["_id"]: record["text"] for record in map(json.loads, lines)}


# Rankings


@pytest.mark.parametrize("k", [1, 10, 1000])
def test_rankings_are_those_of_search(world: World, k: int) -> None:
    for number, index in enumerate(("full", "pruned")):
        wanted = sb.search(world.folder / index, asked(world), model=world.folder / "model", k=k)
        for query_id, text in asked(world).items():
            found = world.json("/search", index=number, q=text, k=k, texts="false")
            assert {h["doc_id"]: h["score"] for h in found["hits"]} == wanted[query_id]
            assert [h["doc_id"] for h in found["hits"]] == list(wanted[query_id])
            assert [h["rank"] for h in found["hits"]] == list(range(1, len(found["hits"]) + 1))
            assert found["encoding_ms"] > 0


def test_a_query_without_terms_finds_nothing(world: World) -> None:
    found = world.json("/search", q="")
    assert (found["hits"], found["terms"], found["measure"]) == ([], [], None)


def test_terms_are_those_of_the_model(world: World) -> None:
    model = world.folder / "model"
    for text in asked(world).values():
        wanted = {
            t.term: (round(t.weight * 100), t.original)
            for t in sb.terms(model, text, side="query")
            if round(t.weight * 100)
        }
        found = world.json("/terms", q=text)["terms"]
        assert {t["term"]: (t["weight"], t["original"]) for t in found} == wanted
        assert [t["weight"] for t in found] == sorted((t["weight"] for t in found), reverse=True)


def test_weights_are_changed_by_hand(world: World) -> None:
    """One term off, one heavier, one that the query did not have; brute force by ``explain``."""
    text = asked(world)["q1"]
    terms = world.json("/terms", q=text)["terms"]
    off, more = terms[0]["term"], terms[1]["term"]
    new = next(t for t in ("with", "by", "or") if t not in {t["term"] for t in terms})
    weights = {off: 0, more: 777, new: 5}
    found = world.json("/search", q=text, weights=json.dumps(weights), k=1000)
    now = {t["term"]: t["weight"] for t in found["terms"]}
    assert now == {t["term"]: t["weight"] for t in terms} | weights
    wanted = sb.search(world.folder / "full", {"q": {t: w for t, w in now.items() if w}}, k=1000)
    assert {h["doc_id"]: h["score"] for h in found["hits"]} == wanted["q"]
    alone = world.json("/search", weights=json.dumps({"cat": 0, "the": 3}))
    assert [t["term"] for t in alone["terms"] if t["weight"]] == ["the"]


def test_what_terms_add_makes_the_score(world: World) -> None:
    lines = (world.folder / "corpus.jsonl").read_text().splitlines()
    texts = {record["_id"]: record for record in map(json.loads, lines)}
    for text in list(asked(world).values())[:1]:
        for hit in world.json("/search", q=text, k=4)["hits"]:
            assert sum(row["score"] for row in hit["added"]) == hit["score"]
            assert all(row["score"] == row["weight"] * row["impact"] > 0 for row in hit["added"])
            document = texts[hit["doc_id"]]
            held = {
                t.term for t in sb.terms(world.folder / "model",
                                         f"{document['title']} {document['text']}")
                if t.original
            }  # fmt: skip
            for row in hit["added"]:  # a document is read to 64 tokens, what is shown is longer
                assert row["in_text"] or row["term"] not in held
            assert "".join(run["text"] for run in hit["shown"]["title"]) == document["title"]
            shown = "".join(run["text"] for run in hit["shown"]["text"])
            assert shown.strip() in " ".join(document["text"].split())
            marked = {run["term"] for part in ("title", "text") for run in hit["shown"][part]}
            assert marked - {None} <= {row["term"] for row in hit["added"]}


def test_an_explanation_is_that_of_explain_in_every_index(world: World) -> None:
    text = asked(world)["q2"]
    doc = world.json("/search", q=text, index=1)["hits"][0]["doc_id"]
    told = world.json("/explain", q=text, doc=doc, index=[0, 1])
    for name, system in zip(("full", "pruned"), told["systems"], strict=True):
        wanted = sb.explain(world.folder / name, text, doc, model=world.folder / "model")
        assert {r["term"]: (r["weight"], r["impact"], r["score"]) for r in system["added"]} == {
            c.term: (c.weight, c.impact, c.score) for c in wanted
        }
        assert system["score"] == sum(c.score for c in wanted)
    assert told["systems"][0]["score"] > told["systems"][1]["score"]
    assert told["shown"]["starts"] and told["shown"]["ends"]


def test_a_document_that_no_index_has_is_not_there(world: World) -> None:
    error = world.json("/explain", 404, q="the", doc="nowhere")["error"]
    assert "no document 'nowhere'" in error["message"]


# Judged queries


def test_judged_queries_are_measured_as_evaluate_does(world: World) -> None:
    while not (found := world.json("/judged", left=0, right=1))["ready"]:
        time.sleep(0.02)
    model, qrels = world.folder / "model", world.folder / "qrels" / "test.tsv"
    values = [
        sb.evaluate(
            qrels, sb.search(world.folder / index, asked(world), model=model, k=10), measure=MEASURE
        )
        for index in ("full", "pruned")
    ]  # fmt: skip
    assert found["measure"] == MEASURE
    assert [found["left"], found["right"]] == pytest.approx([v.means[MEASURE] for v in values])
    for row in found["queries"]:
        assert row["text"] == asked(world)[row["query_id"]]
        assert [row["left"], row["right"]] == [
            v.per_query[row["query_id"]][MEASURE] for v in values
        ]
    differences = [abs(row["difference"]) for row in found["queries"]]
    assert differences == sorted(differences, reverse=True)
    assert {row["query_id"] for row in found["queries"]} == values[0].per_query.keys()
    assert len(world.json("/judged", left=0, right=1, limit=2)["queries"]) == 2
    few = world.json("/judged", left=0, right=1, words="CAT")
    assert few["count"] == sum("cat" in r["text"] for r in found["queries"])


def test_the_ranking_of_a_judged_query_is_measured(world: World) -> None:
    model = world.folder / "model"
    run = sb.search(world.folder / "full", asked(world), model=model, k=10)
    qrels = world.folder / "qrels" / "test.tsv"
    wanted = sb.evaluate(qrels, run, measure=MEASURE).per_query["q2"][MEASURE]
    for k in (3, 10, 20):
        found = world.json("/search", query_id="q2", k=k)
        assert found["query"] == asked(world)["q2"]
        assert found["measure"] == wanted
        assert len(found["hits"]) == k
        assert found["relevant"] == sum(
            int(line.split("\t")[2]) > 0 for line in qrels.read_text().splitlines()[1:]
            if line.startswith("q2\t")
        )  # fmt: skip


# Requests


@pytest.mark.parametrize(
    ("path", "given", "status", "words"),
    [
        ("/search", {}, 400, "nothing is asked"),
        ("/search", {"q": "x" * 2001}, 400, "2,001 characters: 2,000 at most"),
        ("/search", {"q": "x", "k": "0"}, 400, "from 1 to 1,000, not 0"),
        ("/search", {"q": "x", "k": "1001"}, 400, "from 1 to 1,000, not 1001"),
        ("/search", {"q": "x", "k": "1e3"}, 400, "a whole number, not '1e3'"),
        ("/search", {"q": "x", "k": "9" * 5000}, 400, "a whole number"),
        ("/search", {"q": "x", "k": "\u0663"}, 400, "a whole number"),
        ("/search", {"q": ["x", "y"]}, 400, "given 2 times: 1 at most"),
        ("/search", {"q": "x", "index": "7"}, 404, "no index 7: they are numbered from 0 to 1"),
        ("/search", {"q": "x", "index": "-1"}, 400, "from 0"),
        ("/search", {"q": "x", "hits": "1"}, 400, "no parameter 'hits'; there are index, q"),
        ("/search", {"q": "x", "texts": "yes"}, 400, "true or false, not 'yes'"),
        ("/search", {"query_id": "none"}, 404, "no judged query 'none'"),
        ("/search", {"q": "x", "weights": "{"}, 400, "weights is JSON"),
        ("/search", {"q": "x", "weights": "[1]"}, 400, "an object"),
        ("/search", {"q": "x", "weights": '{"a": -1}'}, 400, "from 0 (off)"),
        ("/search", {"q": "x", "weights": '{"a": 1.5}'}, 400, "from 0 (off)"),
        ("/search", {"q": "x", "weights": '{"a": true}'}, 400, "from 0 (off)"),
        ("/search", {"q": "x", "weights": '{"a": 1e400}'}, 400, "weights"),
        ("/search", {"q": "x", "weights": '{"": 1}'}, 400, "must be a whole number"),
        ("/search", {"q": "x", "weights": '{"a": 1000001}'}, 400, "1,000,000, not 1000001"),
        ("/search", {"q": "x", "weights": '{"' + "a" * 40_000 + '": 1}'}, 400, "40,000 at most"),
        ("/explain", {"q": "x"}, 400, "doc must be given"),
        ("/explain", {"q": "x", "doc": "d1", "index": ["0"] * 9}, 400, "9 times: 8 at most"),
        ("/judged", {"left": "0", "right": "2"}, 404, "no index 2"),
        ("/indexes", {"x": "1"}, 400, "no parameter 'x'; there are none"),
        ("/nothing", {}, 404, "nothing is here; there are /, /indexes"),
        ("/../../etc/passwd", {}, 404, "nothing is here"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_request_is_refused_in_words(
    world: World, path: str, given: dict[str, Any], status: int, words: str
) -> None:
    error = world.json(path, status, **given)["error"]
    assert words in error["message"]
    assert error["type"].isidentifier()


def test_only_get_is_answered(world: World) -> None:
    async def ask(method: str) -> Any:
        transport = httpx.ASGITransport(app=world.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as ours:
            return await ours.request(method, "/search")

    for method in ("POST", "PUT", "DELETE"):
        answer = asyncio.run(ask(method))
        assert answer.status_code == 405
        assert "nothing can be changed" in answer.json()["error"]["message"]


def test_a_name_that_is_made_to_lead_here_is_refused(world: World) -> None:
    for host in ("evil.example", "evil.example:7007", "127.0.0.1.evil.example", ""):
        answer = world.get("/terms", 421, headers={"host": host}, q="the")
        assert "this name is not served" in answer.json()["error"]["message"]
    for host in ("localhost:7007", "127.0.0.1:80", "[::1]:7007", "LOCALHOST"):
        assert world.get("/terms", headers={"host": host}, q="the")
    assert names_of("0.0.0.0") is None
    assert "192.0.2.1" in (names_of("192.0.2.1") or ())


# The page


def test_nothing_comes_from_elsewhere(world: World) -> None:
    for path, (name, kind) in ASSETS.items():
        answer = world.get(path)
        assert answer.headers["content-type"] == kind
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        text = asset_text(name).replace("http://www.w3.org/2000/svg", "")  # the name of a language
        assert not re.search(r"https?:|//[a-z]+\.", text)
    for name in ("page.js", "render.js"):
        text = asset_text(name)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    html = asset_text("page.html")
    assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", html)


def test_the_api_is_described_and_answers_so(world: World) -> None:
    text = asked(world)["q0"]
    described = world.json("/openapi.json")
    assert described == json.loads(json.dumps(document()))
    given: dict[str, dict[str, Any]] = {
        "indexes": {},
        "terms": {"q": text},
        "search": {"q": text},
        "explain": {"q": text, "doc": world.json("/search", q=text)["hits"][0]["doc_id"]},
        "judged": {},
    }
    for path in PATHS:
        answer = world.json(f"/{path.name}", **given[path.name])
        assert list(faults(answer, path.answer)) == []
        told = described["paths"][f"/{path.name}"]["get"]
        assert [p["name"] for p in told["parameters"]] == [p.name for p in path.parameters]
        reference = told["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        schema = described["components"]["schemas"][reference.rpartition("/")[2]]
        assert set(schema["required"]) == set(answer)
    names = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described))
    assert set(names) <= described["components"]["schemas"].keys()


def test_what_is_served_is_told(world: World) -> None:
    told = world.json("/indexes")
    assert [index["label"] for index in told["indexes"]] == ["full", "pruned"]
    assert [index["documents"] for index in told["indexes"]] == [60, 60]
    assert told["indexes"][0]["postings"] > told["indexes"][1]["postings"]
    assert told["indexes"][0]["pruning"] == [] != told["indexes"][1]["pruning"]
    assert (told["texts"], told["measure"]) == (True, MEASURE)


def test_labels_are_as_short_as_they_differ() -> None:
    assert labels_of([Path("a/x"), Path("b/y")]) == ["x", "y"]
    assert labels_of([Path("a/x"), Path("b/x")]) == ["a/x", "b/x"]
    assert labels_of([Path("x"), Path("x")]) == ["x (0)", "x (1)"]


def test_terms_by_hand_come_last() -> None:
    terms = [Term("a", "a", 3, True, False), Term("b", "b", 2, False, False)]
    assert [(t.term, t.weight) for t in changed(terms, {"c": 9, "a": 0})] == [
        ("a", 0), ("b", 2), ("c", 9),
    ]  # fmt: skip


# Opening


def test_models_are_one_or_one_an_index(world: World) -> None:
    places = [world.folder / "full", world.folder / "pruned"]
    with (
        pytest.raises(UsageError, match="3 models for 2 indexes"),
        opened(places, ServeOptions(("a", "b", "c"))),
    ):
        pass
    with pytest.raises(UsageError, match="belong together"):
        ServeOptions(("a",), queries="q")


def test_a_port_that_is_taken(capfd: pytest.CaptureFixture[str]) -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        status, _, err = run(capfd, "serve", "nothing", "-m", "none", "--port", str(port))
    assert status == 2
    assert f"--host 127.0.0.1 --port {port}: cannot listen there (Address already in use)" in err
    status, _, err = run(capfd, "serve", "nothing", "-m", "none", "--host", "no.such.host.invalid")
    assert status == 2
    assert "--host no.such.host.invalid: no address of this machine" in err


# The whole program


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_hundred_at_once_give_the_run_of_search(
    tmp_path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """Over Lucene and PISA, byte for byte; then a signal ends it, and no child is left."""
    names = ("lucene", "pisa")
    for name in names:
        try:
            engine(name).check_installed()
        except MissingToolError as error:
            pytest.skip(str(error))
    make_texts(tmp_path, 400, 100)
    save_checkpoint(tmp_path / "model")
    sb.encode(tmp_path / "corpus.jsonl", model=tmp_path / "model", output=tmp_path / "v")
    queries = [json.loads(line) for line in (tmp_path / "queries.jsonl").read_text().splitlines()]
    for name in names:
        sb.index(tmp_path / "v", tmp_path / name, engine=name)
        status, _, err = run(
            capfd, "search", tmp_path / name, "-q", tmp_path / "queries.jsonl",
            "-m", tmp_path / "model", "-k", "20", "-o", tmp_path / f"{name}.run",
        )  # fmt: skip
        assert status == 0, err
    with serving(tmp_path, *names, "-m", "model", "--corpus", "corpus.jsonl") as program:
        with ThreadPoolExecutor(100) as pool:
            jobs = [
                (
                    index,
                    query,
                    pool.submit(program.ask, "search", index=index, q=query["text"], k=20),
                )
                for query in queries
                for index in range(len(names))
            ]
            runs: list[list[str]] = [[], []]
            for index, query, job in jobs:
                for hit in job.result()["hits"]:
                    line = f"{query['_id']} Q0 {hit['doc_id']} {hit['rank']} {hit['score']}"
                    runs[index].append(f"{line} splade-bridge\n")
        for name, lines in zip(names, runs, strict=True):
            assert "".join(lines) == (tmp_path / f"{name}.run").read_text()
        below = descendants(program.process.pid)
        assert below  # a JVM, and PISA's workers: as many as requests are answered at a time
        assert len(below) <= 1 + 4
        program.process.send_signal(number)
        assert program.process.wait(30) == 0
        assert [pid for pid in below if is_alive(pid)] == []
    assert not list(tmp_path.glob(".*"))


@pytest.mark.long
def test_the_program_ends_at_ctrl_c(world: World) -> None:
    """A request that never ends does not keep it."""
    with serving(world.folder, "full", "-m", "model", "--corpus", "corpus.jsonl") as program:
        assert program.ask("search", q="the cat")["hits"]
        with socket.create_connection(("127.0.0.1", program.port)) as s:
            s.sendall(b"GET /search HTTP/1.1\r\n")  # one that never ends its request
            program.process.send_signal(signal.SIGINT)
            assert program.process.wait(30) == 0


SERVER = """
import signal, sys
from splade_bridge.server.listening import listening, serve
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})
signal.signal(signal.SIGINT, signal.default_int_handler)
with listening("127.0.0.1", 0) as listener:
    serve(app, listener, lambda: print(listener.getsockname()[1], flush=True))
print("ended")
"""


def test_a_signal_is_how_it_ends() -> None:
    """The server alone, in short: no traceback, and what comes behind it is done."""
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, preexec_fn=hear_sigint,
        )  # fmt: skip
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            assert answer.read() == b"here"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "ended\n", "")


def test_many_at_once_give_the_run_of_search(world: World) -> None:
    """The same as over Lucene and PISA, in short: one application, sixty requests at a time."""
    queries = asked(world)
    wanted = [
        sb.search(world.folder / index, queries, model=world.folder / "model", k=10)
        for index in ("full", "pruned")
    ]

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(app=world.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as ours:
            asking = [
                ours.get("/search", params={"q": text, "index": index, "texts": "false"})
                for index in (0, 1) for text in queries.values() for _ in range(3)
            ]  # fmt: skip
            return await asyncio.gather(*asking)

    answers = iter(asyncio.run(ask()))
    for run_of_index in wanted:
        for query_id in queries:
            for _ in range(3):
                hits = next(answers).json()["hits"]
                assert [(h["doc_id"], h["score"]) for h in hits] == list(
                    run_of_index[query_id].items()
                )


@pytest.mark.long
def test_bm25_beside_a_model(
    world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Lucene's analyzer in the place of a model: its own run by ``search``, stems marked."""
    try:
        engine("lucene").check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))
    texts = [
        {"_id": "d1", "title": "Running cats", "text": "The cats were running to a cat."},
        {"_id": "d2", "title": "", "text": "A dog's house, and the dogs of houses"},
    ]
    write_json_lines(tmp_path / "corpus.jsonl", texts)
    write_json_lines(tmp_path / "queries.jsonl", [{"_id": "q", "text": "the Cats, run houses"}])
    made = ("bm25", tmp_path / "corpus.jsonl", "-q", tmp_path / "queries.jsonl")
    status, _, err = run(capfd, *made, "-o", tmp_path / "bm25")
    assert status == 0, err
    sb.index(tmp_path / "bm25" / "documents", tmp_path / "words", engine="exact")
    wanted = sb.search(tmp_path / "words", tmp_path / "bm25" / "queries", scale=1)["q"]
    options = ServeOptions(
        (str(world.folder / "model"), "bm25"), corpus=str(tmp_path / "corpus.jsonl")
    )
    with opened([world.folder / "full", tmp_path / "words"], options) as served:
        found = served.search(1, "the Cats, run houses", None, None, 10, True)
        assert {hit.doc_id: hit.score for hit in found.hits} == wanted
        assert {t.term: t.weight for t in found.terms} == {"cat": 1, "run": 1, "hous": 1}
        by_id = {hit.doc_id: hit.shown for hit in found.hits}
        marks = [r.text for shown in (by_id["d1"],) if shown for r in shown.text if r.term]
        assert marks == ["cats", "running", "cat"]
        assert served.search(0, "the cat", None, None, 10, True).hits


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("nothing -m m", 4, "nothing: no such folder"),
        ("full -m m -m n", 2, "2 models for 1 indexes: give --model once for all"),
        ("full -m no/model", 4, "no/model"),
        ("full -m model --corpus nothing", 4, "nothing"),
        ("full -m model -q .", 2, "--queries and --qrels belong together"),
        ("full -m model -q . --qrels other.tsv", 4, "none of its 1 judged queries is in ."),
        ("full -m model -q . --qrels . -M nDCG@0", 2, "nDCG@0"),
        ("full -m model -q . --qrels . -M nothing", 2, "nothing"),
        ("full alien -m model", 5, "alien: the queries were encoded with another vocabulary"),
        ("full -m model --corpus bad.jsonl", 4, "bad.jsonl:1"),
    ],
)
def test_what_cannot_be_served_is_told(
    world: World,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(world.folder)
    Path("other.tsv").write_text("query-id\tcorpus-id\tscore\nnone\td1\t1\n")
    Path("bad.jsonl").write_text('{"id": "d1", "text": 3}\n')
    if not Path("alien").exists():
        made.exact(Path("alien"))
    status, out, err = run(capfd, "serve", *command.split(), "--port", "0")
    assert (status, out) == (code, ""), err
    assert words in err.splitlines()[-1]
