"""Reranking against the models asked pair by pair, whatever kills it and however it is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import command_line
import splade_bridge as sb
from checkpoints import one_thread, save_bert, save_checkpoint, save_dense  # noqa: F401
from killed import killed
from small import trec_run, write_json_lines
from splade_bridge.encoding.choices import ScorerOptions
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.retrieval.rerank import RerankOptions, RerankSummary, rerank_to_run
from splade_bridge.retrieval.runs import read_run
from splade_bridge.training.score import ScoreOptions, score

WORDS = ["the", "of", "and", "to", "in", "is", "that", "for", "it", "was", "with", "cat", "4"]
QUERIES = {f"q{i}": " ".join(WORDS[i : i + 3]) for i in range(5)}
DOC_IDS = [*(f"d{i}" for i in range(22)), "é", "z", "Z", "10"]
TWINS = ("d3", "d11", "é", "10", "Z")
"""Documents with the same text: a model gives them the same score."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder with a run over it, and a tiny cross-encoder."""
    folder = tmp_path_factory.mktemp("rerank")
    rng = np.random.default_rng(3)
    texts = {d: " ".join(rng.choice(WORDS, int(rng.integers(1, 30)))) for d in DOC_IDS}
    texts |= dict.fromkeys(TWINS, "it was that cat")
    texts["d5"] = ""
    beir = folder / "beir"
    beir.mkdir()
    corpus = [{"_id": d, "title": "", "text": t} for d, t in texts.items()]
    write_json_lines(beir / "corpus.jsonl", [*corpus, {"_id": "other", "title": "", "text": "of"}])
    asked = [{"_id": q, "text": t} for q, t in QUERIES.items()]
    write_json_lines(beir / "queries.jsonl", [*asked, {"_id": "other", "text": "of"}])
    lists = {}
    for query_id in QUERIES:
        found = sorted(rng.permutation(DOC_IDS).tolist()[: int(rng.integers(12, 26))])
        scores = rng.integers(1, 9, len(found)).tolist()  # many are equal
        lists[query_id] = list(zip(found, scores, strict=True))
    lists["q4"] = [("d1", 7)]
    (folder / "run.trec").write_text(trec_run(lists))
    save_bert(folder / "model", "cross-encoder")
    return folder


def ordered(found: dict[str, float]) -> list[str]:
    return sorted(found, key=lambda d: (-found[d], d))


def reranked(work: Path, out: Path, model: str = "model", **changes: Any) -> RerankSummary:
    """The run of ``work``, reranked into ``out``."""
    beir, options = str(work / "beir"), RerankOptions(**changes)
    return rerank_to_run(work / "run.trec", out, str(work / model), beir, beir, options)


@pytest.fixture(scope="module")
def logits(work: Path) -> dict[tuple[str, str], float]:
    """What the network says of each pair alone, by transformers."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(work / "model")
    network = AutoModelForSequenceClassification.from_pretrained(work / "model").eval()
    lines = map(json.loads, (work / "beir" / "corpus.jsonl").read_text().splitlines())
    texts = {line["_id"]: line["text"] for line in lines}
    found = {}
    for query_id, query in QUERIES.items():
        for doc_id in DOC_IDS:
            asked = tokenizer([query], [texts[doc_id]], truncation=True, return_tensors="pt")
            with torch.no_grad():
                found[query_id, doc_id] = float(network(**asked).logits)
    return found


@pytest.mark.parametrize(("depth", "k"), [(7, 1000), (100, 1000), (7, 9), (7, 3), (1, 4)])
def test_the_ranking_is_that_of_the_network(
    work: Path, logits: dict[tuple[str, str], float], tmp_path: Path, depth: int, k: int
) -> None:
    summary = reranked(work, tmp_path / "out", depth=depth, k=k)
    before, after = read_run(work / "run.trec"), read_run(tmp_path / "out")
    assert list(after) == list(before)
    for query_id, found in before.items():
        first = ordered(found)
        top, below = first[:depth], first[depth:]
        scores = after[query_id]
        new = [d for d in scores if d in top]
        for doc_id in new:
            assert scores[doc_id] == pytest.approx(logits[query_id, doc_id], abs=1e-5)
        assert new == ordered({d: scores[d] for d in new})
        assert sum(d in new for d in TWINS) < 2 or len({scores[d] for d in TWINS if d in new}) == 1
        assert list(scores) == [*new, *below][:k]
        assert k <= depth or set(new) == set(top)
        low = min(scores[d] for d in new)
        assert [scores[d] for d in below if d in scores] == [
            low - i for i, d in enumerate(below, start=1) if d in scores
        ]
        assert list(scores) == ordered(scores)
    pairs = sum(min(depth, len(found)) for found in before.values())
    assert summary == RerankSummary(5, sum(min(k, len(f)) for f in before.values()), pairs, 0)


def test_a_batch_changes_the_last_digits_only(work: Path, tmp_path: Path) -> None:
    """And is sorted by length, so that one of 64 pads next to nothing."""
    for batch_size in (1, 3, 64):
        out = tmp_path / str(batch_size)
        reranked(work, out, part_queries=2, computing=ScorerOptions(batch_size))
    one, *others = (read_run(tmp_path / str(n)) for n in (1, 3, 64))
    for other in others:
        for query_id, found in one.items():
            for doc_id, value in found.items():
                assert other[query_id][doc_id] == pytest.approx(value, abs=2e-5)


@pytest.mark.parametrize("kind", ["cross-encoder", "dense", "sparse"])
def test_it_scores_as_a_teacher_does(work: Path, tmp_path: Path, kind: Any) -> None:
    model = {
        "cross-encoder": lambda: work / "model",
        "dense": lambda: save_dense(tmp_path / "dense"),
        "sparse": lambda: save_checkpoint(tmp_path / "sparse"),
    }[kind]()
    before = read_run(work / "run.trec")
    lines = [{"query_id": q, "positives": list(f), "negatives": []} for q, f in before.items()]
    write_json_lines(tmp_path / "pairs.jsonl", lines)
    beir = str(work / "beir")
    score(
        ScoreOptions(
            tmp_path / "pairs.jsonl", tmp_path / "scored.jsonl", kind, str(model),
            collection=beir, queries=beir,
        )
    )  # fmt: skip
    reranked(work, tmp_path / "out", str(model), scorer=kind)
    after = read_run(tmp_path / "out")
    for line in map(json.loads, (tmp_path / "scored.jsonl").read_text().splitlines()):
        assert after[line["query_id"]] == pytest.approx(line["scores"], abs=2e-5)


@pytest.mark.long
def test_killed_again_and_again_it_ends_with_the_same_bytes(work: Path, tmp_path: Path) -> None:
    import rerank_killed

    beir, out = str(work / "beir"), tmp_path / "killed" / "out.trec.gz"
    whole = tmp_path / "whole.trec.gz"
    rerank_killed.rerank(str(work / "run.trec"), str(whole), str(work / "model"), beir)
    asked = [str(work / "run.trec"), str(out), str(work / "model"), beir]
    done = subprocess.run(
        [sys.executable, rerank_killed.__file__, *asked], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2
    assert out.read_bytes() == whole.read_bytes()
    names = {p.name for p in out.parent.iterdir()}
    assert names == {"out.trec.gz", "out.trec.gz.manifest.json"}


def test_a_kill_before_any_change_on_the_disk_leaves_what_goes_on(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between the output, its manifest and the removal of the parts."""
    from splade_bridge.encoding import scorers

    def lengths(*_: Any) -> Any:
        return lambda pairs: np.array([len(query) * 7 % 5 + len(text) for query, text in pairs])

    monkeypatch.setattr(scorers, "load_scorer", lengths)
    reranked(work, tmp_path / "whole", part_queries=2)
    for step in range(100):
        out = tmp_path / str(step) / "out"
        if not killed(lambda out=out: reranked(work, out, part_queries=2), step):
            break
        reranked(work, out, part_queries=2)
        assert out.read_bytes() == (tmp_path / "whole").read_bytes(), step
        assert {p.name for p in out.parent.iterdir()} == {"out", "out.manifest.json"}, step
    assert step > 12


def test_it_goes_on_and_refuses_other_plans(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from splade_bridge.encoding import scorers

    out, real, calls = tmp_path / "out", scorers.load_scorer, []

    def dies(*args: Any) -> Any:
        scorer = real(*args)

        def asked(pairs: Any) -> Any:
            calls.append(len(pairs))
            if len(calls) == 2:
                raise KeyboardInterrupt
            return scorer(pairs)

        return asked

    monkeypatch.setattr(scorers, "load_scorer", dies)
    with pytest.raises(KeyboardInterrupt):
        reranked(work, out, part_queries=2)
    assert not out.exists()
    with pytest.raises(UsageError, match="other options"):
        reranked(work, out, part_queries=3)
    summary = reranked(work, out, part_queries=2)
    assert summary.parts_kept == 1 and len(calls) == 4
    assert reranked(work, out, part_queries=2) == RerankSummary(
        summary.queries, summary.results, summary.pairs, 0
    )
    assert len(calls) == 4, "what is there is not made again"
    with pytest.raises(UsageError, match="by another plan"):
        reranked(work, out, part_queries=3)


def test_what_lacks_a_text_is_named(work: Path, tmp_path: Path) -> None:
    beir, model = work / "beir", str(work / "model")
    (tmp_path / "queries.tsv").write_text("q0\tthe cat\nq2\tof\nq3\tof\nq4\tit\n")
    (tmp_path / "corpus.tsv").write_text("d1\tthe cat\n")
    run = work / "run.trec"
    with pytest.raises(BadInputError, match=r"run.trec: 1 of 5 queries \(q1\) have no text"):
        rerank_to_run(run, tmp_path / "o", model, str(beir), str(tmp_path / "queries.tsv"))
    with pytest.raises(BadInputError, match=r"of \d+ documents \(10, Z, d0, d10, d11, ...\)"):
        rerank_to_run(run, tmp_path / "o", model, str(tmp_path / "corpus.tsv"), str(beir))
    assert {p.name for p in tmp_path.iterdir()} == {"queries.tsv", "corpus.tsv"}


def test_a_model_without_a_head_for_pairs_is_refused(work: Path, tmp_path: Path) -> None:
    """transformers would give it a random one, and only warn."""
    save_checkpoint(tmp_path / "mlm")
    save_dense(tmp_path / "dense")
    for name in ("mlm", "dense"):
        with pytest.raises(BadInputError, match="would be given a random one"):
            reranked(work, tmp_path / "out", str(tmp_path / name))
    assert not (tmp_path / "out.parts").exists()


def test_a_model_of_two_classes_is_refused(work: Path, tmp_path: Path) -> None:
    save_bert(tmp_path / "two", "cross-encoder", labels=2)
    with pytest.raises(BadInputError, match="a classifier of 2 classes, not one score"):
        reranked(work, tmp_path / "out", str(tmp_path / "two"))


def test_the_command_and_the_call(
    work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Formats, compression, stdout, values in memory: the same ranking."""
    reranked(work, tmp_path / "whole", depth=6, tag="mine")
    asked = ["rerank", work / "run.trec", "-m", work / "model", "--corpus", work / "beir",
             "-q", work / "beir", "--depth", "6"]  # fmt: skip
    status, out, err = command_line.run(capfd, *asked, "--tag", "mine", "-o", "-")
    assert (status, out) == (0, (tmp_path / "whole").read_text()), err
    ranked = tmp_path / "ranked.tsv.zst"
    assert command_line.run(capfd, *asked, "--output-format", "msmarco", "-o", ranked)[0] == 0
    expected = read_run(tmp_path / "whole")
    assert [list(f) for f in read_run(ranked).values()] == [list(f) for f in expected.values()]
    lines = map(json.loads, (work / "beir" / "corpus.jsonl").read_text().splitlines())
    texts = {line["_id"]: line["text"] for line in lines}
    given: dict[str, Any] = {"model": work / "model", "corpus": texts, "queries": QUERIES}
    found = sb.rerank(read_run(work / "run.trec"), depth=6, **given)
    assert found == expected and [*map(list, found.values())] == [*map(list, expected.values())]
    assert found.summary.results == sum(map(len, expected.values()))
    beir = work / "beir"
    named = {"model": work / "model", "corpus": beir, "queries": beir, "depth": 6, "tag": "mine"}
    for _ in range(2):  # made, and already there
        again = sb.rerank(work / "run.trec", output=tmp_path / "again", **named)
        assert again == expected and again.summary == found.summary
    assert (tmp_path / "again").read_bytes() == (tmp_path / "whole").read_bytes()


def test_what_can_be_read_once_only_is_refused(work: Path, tmp_path: Path) -> None:
    beir, model = str(work / "beir"), str(work / "model")
    with pytest.raises(UsageError, match="can be read once only"):
        rerank_to_run(Path("-"), tmp_path / "out", model, beir, beir)
