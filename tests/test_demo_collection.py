"""The demo's collection, its questions and answers, and its model belong together."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import pytest

from splade_bridge.demo import collection, docstrings
from splade_bridge.demo.collection import Passage

FEW = ("tempfile", "socket", "heapq", "json", "random")


@pytest.fixture(scope="module")
def every_passage() -> list[Passage]:
    return list(collection.passages())


@pytest.fixture(scope="module", params=["few", pytest.param("all", marks=pytest.mark.long)])
def passages(request: pytest.FixtureRequest) -> list[Passage]:
    """Those of a few modules and of all that are compiled, or every passage."""
    if request.param == "all":
        every: list[Passage] = request.getfixturevalue("every_passage")
        return every
    sources = docstrings._sources
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            docstrings, "_sources", lambda root: (s for s in sources(root) if s[0] in FEW)
        )
        return list(docstrings.passages())


@pytest.fixture(scope="module")
def queries() -> dict[str, str]:
    lines = collection.queries_path().read_text(encoding="utf-8").splitlines()
    return {record["_id"]: record["text"] for record in map(json.loads, lines)}


@pytest.fixture(scope="module")
def qrels() -> dict[str, dict[str, int]]:
    answers: dict[str, dict[str, int]] = defaultdict(dict)
    with open(collection.qrels_path(), encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t")
        assert next(rows) == ["query-id", "corpus-id", "score"]
        for query, passage, score in rows:
            assert passage not in answers[query], f"{query} judges {passage} twice"
            answers[query][passage] = int(score)
    return answers


@pytest.mark.long
def test_ids_are_unique_sorted_and_of_the_expected_number(every_passage: list[Passage]) -> None:
    ids = [passage.id for passage in every_passage]
    assert ids == sorted(set(ids))
    assert 4_000 <= len(ids) <= 9_000


@pytest.mark.long
def test_names_are_those_a_user_writes(every_passage: list[Passage]) -> None:
    ids = {passage.id for passage in every_passage}
    expected = {
        "argparse.ArgumentParser.add_argument",  # defined in a private base class
        "asyncio.gather",  # defined in asyncio.tasks
        "collections.deque.appendleft",  # written in C
        "concurrent.futures.ThreadPoolExecutor",  # imported lazily
        "dict.get",
        "heapq.heappush",
        "itertools.groupby",
        "json.dumps",
        "open",
        "os.mkdir",  # posix or nt
        "os.path.join",  # posixpath or ntpath
        "pathlib.Path.exists",  # pathlib._local or pathlib._abc in Python 3.13
        "random.choice",  # a bound method of a hidden instance
        "str.join",
        "tempfile.TemporaryDirectory",
    }
    assert expected <= ids
    assert not any(part.startswith("_") for name in ids for part in name.split(".") if part != "_")


def test_passages_are_described_once(passages: list[Passage]) -> None:
    assert all(p.text.strip() and p.title.startswith(p.id) for p in passages)
    texts = [" ".join(p.text.split()) for p in passages]
    assert len(texts) == len(set(texts))


@pytest.mark.long
def test_corpus_file_holds_the_passages(every_passage: list[Passage], tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    assert collection.write_corpus(path) == len(every_passage)
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    records = [json.loads(line) for line in lines]
    assert [Passage(r["_id"], r["title"], r["text"]) for r in records] == every_passage


def test_every_question_has_an_answer(
    queries: dict[str, str], qrels: dict[str, dict[str, int]]
) -> None:
    assert len(queries) >= 70
    assert qrels.keys() == queries.keys()
    for query, answers in qrels.items():
        assert set(answers.values()) <= {1, 2}
        assert 2 in answers.values(), queries[query]


@pytest.mark.long
def test_every_answer_exists(
    every_passage: list[Passage], queries: dict[str, str], qrels: dict[str, dict[str, int]]
) -> None:
    ids = {passage.id for passage in every_passage}
    judged = {passage for answers in qrels.values() for passage in answers}
    # A name may lose its docstring from one Python to the next; a question must keep an answer.
    assert len(judged - ids) <= 5, sorted(judged - ids)
    for query, answers in qrels.items():
        assert any(score == 2 and p in ids for p, score in answers.items()), queries[query]


def test_no_question_is_copied_from_the_collection(
    passages: list[Passage], queries: dict[str, str]
) -> None:
    everything = "\n".join(" ".join(f"{p.title} {p.text}".lower().split()) for p in passages)
    assert len(set(queries.values())) == len(queries)
    assert not [text for text in queries.values() if text.lower() in everything]


def test_no_question_of_the_demo_was_used_in_training(
    queries: dict[str, str], qrels: dict[str, dict[str, int]]
) -> None:
    path = collection.training_questions_path()
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    assert not {question for question, _ in rows} & set(queries.values())
    judged = {passage for answers in qrels.values() for passage in answers}
    assert not judged & {name for _, names in rows for name in names.split()}


def test_model_is_small_and_finds_a_temporary_directory(passages: list[Passage]) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = collection.model_path()
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= 10_000_000

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).float().eval()
    assert len(tokenizer) == model.config.vocab_size

    def encode(texts: list[str]) -> object:
        batch = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            weights = torch.log1p(torch.relu(model(**batch).logits))
        return (weights * batch["attention_mask"][..., None]).amax(dim=1)

    names = ["tempfile.TemporaryDirectory", "math.gcd", "str.upper", "socket.socket.bind"]
    texts = {p.id: f"{p.title} {p.text}" for p in passages}
    vectors = encode([texts[name] for name in names])
    query = encode(["make a temporary folder that removes itself"])
    assert names[int((query @ vectors.T).argmax())] == "tempfile.TemporaryDirectory"
    active = (vectors > 0).sum(dim=1).float().mean().item()
    assert 80 <= active <= 250
