"""BEIR in one command against the single commands, and its conventions one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import command_line
import splade_bridge as sb
from checkpoints import one_thread, save_checkpoint  # noqa: F401
from small import write_json_lines
from splade_bridge.comparison.beir import BeirOptions, beir, data_sets
from splade_bridge.demo.collection import model_path
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.report.beir_table import beir_table, latex, markdown
from splade_bridge.report.published_beir import published_beir

WORDS = ["the", "of", "and", "to", "in", "is", "that", "for", "it", "was", "with", "by", "his"]
MEASURES = ("nDCG@10", "R@2")


def save_set(folder: Path, number: int, *, split: str = "test", ids: str = "q") -> Path:
    """A small data set; its queries are called ``ids`` and a number, its documents d0 to d19."""
    rows = [
        {"_id": f"d{i}", "title": WORDS[(i + number) % 13] * (i % 2), "text": " ".join(
            WORDS[(i * k + number) % 13] for k in range(1, 4 + i % 5))}
        for i in range(20)
    ]  # fmt: skip
    asked = [{"_id": f"{ids}{i}", "text": f"{WORDS[(i + number) % 13]} of {WORDS[i]}"}
             for i in range(6)]  # fmt: skip
    (folder / "qrels").mkdir(parents=True)
    write_json_lines(folder / "corpus.jsonl", rows)
    write_json_lines(folder / "queries.jsonl", asked)
    judged = [f"{ids}{i}\td{(i * 3 + j + number) % 20}\t{j}" for i in range(5) for j in (1, 2)]
    text = "\n".join(["query-id\tcorpus-id\tscore", *judged, ""])
    (folder / "qrels" / f"{split}.tsv").write_text(text)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets, as BEIR's archives lie when they are unpacked."""
    folder = tmp_path_factory.mktemp("beir")
    save_set(folder / "toy", 1)
    save_set(folder / "arguana", 2, ids="d")
    save_set(folder / "msmarco", 3, split="dev")
    for i, part in enumerate(("android", "tex")):
        save_set(folder / "cqadupstack" / part, 4 + i)
    return folder


def by_single_commands(
    folder: Path, model: Path, work: Path, split: str, capfd: Any, measures: tuple[str, ...]
) -> dict[str, float]:
    """The means, by encode, index, search and evaluate."""
    lines = [
        f"encode {folder} -m {model} -o {work}/v",
        f"index {work}/v -e exact -o {work}/i",
        f"search {work}/i -q {folder} --split {split} -m {model} --remove-query -o {work}/run",
        f"evaluate {folder} {work}/run --split {split} --json -M {' '.join(measures)}",
    ]
    for line in lines:
        words = line.split()
        if "-M" in words:
            words = [*words[: words.index("-M")], "-M", " ".join(measures)]
        status, out, err = command_line.run(capfd, *words)
        assert status == 0, err
    return dict(json.loads(out)["measures"])


def test_it_gives_what_the_single_commands_give(
    sets: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = ["beir", sets, "-m", model, "-o", out, "-M", " ".join(MEASURES), "--json"]
    status, printed, err = command_line.run(capfd, *asked)
    assert status == 0, err
    found = {r["data_set"]: r for r in json.loads(printed)["evaluations"]}
    assert list(found) == ["arguana", "cqadupstack", "msmarco", "toy"]
    for name, split in (("toy", "test"), ("arguana", "test"), ("msmarco", "dev")):
        work = tmp_path / name
        work.mkdir()
        single = by_single_commands(sets / name, model, work, split, capfd, MEASURES)
        assert found[name]["means"] == single, name
        assert (found[name]["split"], found[name]["queries"]) == (split, 5)
    (tmp_path / "parts").mkdir()
    parts = []
    for part in ("android", "tex"):
        work = tmp_path / "parts" / part
        work.mkdir()
        folder = sets / "cqadupstack" / part
        parts.append(by_single_commands(folder, model, work, "test", capfd, MEASURES))
    means = {m: (parts[0][m] + parts[1][m]) / 2 for m in MEASURES}
    assert found["cqadupstack"]["means"] == pytest.approx(means, abs=1e-12)
    assert found["cqadupstack"]["parts"] == dict(zip(("android", "tex"), parts, strict=True))
    table = json.loads((out / "results.json").read_text())["tables"][0]
    rest = [found[n]["means"]["nDCG@10"] for n in ("arguana", "cqadupstack", "toy")]
    assert table["values"]["mean"]["tiny"] == pytest.approx(sum(rest) / 3)
    assert "BM25 flat" not in table["values"]["mean"], "nobody has published a mean with toy"
    assert table["values"]["arguana"]["BM25 flat"] == 0.3970
    assert "| arguana |" in (out / "table.md").read_text()
    assert "\\bottomrule" in (out / "table.tex").read_text()


def test_own_documents_are_left_out(sets: Path, model: Path, tmp_path: Path) -> None:
    from splade_bridge.retrieval.runs import read_run

    beir([sets / "arguana"], [str(model)], tmp_path / "out")
    (run,) = (tmp_path / "out" / "work" / "run").glob("*/run.trec.zst")
    found = read_run(run)
    assert found and all(query_id not in documents for query_id, documents in found.items())


def test_steps_are_done_once(sets: Path, model: Path, tmp_path: Path) -> None:
    """A stopped call goes on; another data set or model adds its own steps and no others."""
    out, options = tmp_path / "out", BeirOptions(measures=MEASURES)

    def stops(what: str) -> None:
        if what.startswith("tiny: search"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        beir([sets / "toy"], [str(model)], out, options, say=stops)
    assert not (out / "results.json").exists()
    first = beir([sets / "toy"], [str(model)], out, options)
    assert first.done == {"evaluation": 1, "run": 1} and first.kept == {"encode": 2, "index": 1}
    again = beir([sets / "toy"], [str(model)], out, options)
    assert again.done == {} and again.results == first.results
    more = beir([sets / "toy", sets / "arguana"], [str(model)], out, options)
    assert more.done == {"encode": 2, "evaluation": 1, "index": 1, "run": 1}
    other = save_checkpoint(tmp_path / "other", seed=5)
    both = sb.beir(sets / "toy", model=[model, other], output=out, measure=MEASURES)
    assert both.done == {"encode": 2, "evaluation": 1, "index": 1, "run": 1}
    assert [r.model for r in both.results] == ["tiny", "other"]
    assert both.results[0] == first.results[0]
    dropped = beir([sets / "toy"], [str(model)], out, options, drop_indexes=True)
    assert dropped.freed > 0 and not list(out.glob("work/index/*/index"))


def test_what_is_no_data_set_is_refused(sets: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such folder"):
        data_sets([tmp_path / "none"])
    with pytest.raises(BadInputError, match="neither a data set in BEIR's layout"):
        data_sets([tmp_path])
    with pytest.raises(BadInputError, match=r"no qrels/test.tsv.*one of dev"):
        data_sets([sets / "msmarco"], "test")
    with pytest.raises(UsageError, match="two data sets are called toy"):
        data_sets([sets, sets / "toy"])
    with pytest.raises(UsageError, match="no two of which are called the same"):
        beir([sets / "toy"], [str(model), str(model)], tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "table.md").write_text("mine")
    with pytest.raises(UsageError, match=r"table.md"):
        beir([sets / "toy"], [str(model)], tmp_path / "mine")
    assert (tmp_path / "mine" / "table.md").read_text() == "mine"


def test_published_figures_are_those_of_the_papers() -> None:
    """CQADupStack as the mean of its parts: what the reproductions' own tables say."""
    known = published_beir("nDCG@10")
    assert known["BM25 flat"]["cqadupstack"] == pytest.approx(0.302, abs=5e-4)
    assert known["BM25 multifield"]["cqadupstack"] == pytest.approx(0.299, abs=5e-4)
    assert known["SPLADE++ ED"]["cqadupstack"] == pytest.approx(0.334, abs=5e-4)
    assert known["SPLADE-v3"]["scifact"] == 0.7140 and known["SPLADE-v3"]["nfcorpus"] == 0.3629
    assert set(published_beir("R@100")) == {"BM25 flat", "BM25 multifield", "SPLADE++ ED"}
    assert published_beir("AP") == {}


def test_tables_as_papers_print_them() -> None:
    values = {"scifact": {"my_model": 0.70004}, "msmarco": {"my_model": 0.4}}
    one = beir_table("nDCG@10", ["my_model"], values)
    assert "mean" not in one.values, "of one data set beside msmarco there is none"
    more = beir_table("nDCG@10", ["my_model"], values | {"fiqa": {"my_model": 0.3}})
    assert more.values["mean"] == pytest.approx(
        {"my_model": 0.50002, "BM25 flat": 0.4575, "BM25 multifield": 0.4504,
         "SPLADE++ ED": 0.5258, "SPLADE-v3": 0.5469}
    )  # fmt: skip
    lines = latex([more]).splitlines()
    assert r"\begin{tabular}{lr@{\quad}rrrr}" in lines
    assert r"scifact & 70.0 & 67.9 & 66.5 & 70.4 & 71.4 \\" in lines
    assert r"msmarco & 40.0 &  &  &  &  \\" in lines
    assert any(line.startswith(r"data set & my\_model & BM25 flat") for line in lines)
    shown = markdown([more], ["Told."]).splitlines()
    assert "| scifact | 0.7000 | 0.6789 | 0.6647 | 0.7041 | 0.7140 |" in shown
    assert "Told." in shown


@pytest.mark.shared
@pytest.mark.long
def test_real_data_sets(shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """NFCorpus and SciFact by the demonstration's model, as the single commands measure them."""
    model = Path(model_path())
    out = tmp_path / "out"
    asked = ["beir", shared / "nfcorpus", shared / "scifact", "-m", model, "-o", out, "--json"]
    status, printed, err = command_line.run(capfd, *asked)
    assert status == 0, err
    found = {r["data_set"]: r for r in json.loads(printed)["evaluations"]}
    for name, queries in (("nfcorpus", 323), ("scifact", 300)):
        work = tmp_path / name
        work.mkdir()
        measures = ("nDCG@10", "R@100")
        single = by_single_commands(shared / name, model, work, "test", capfd, measures)
        assert found[name]["means"] == single
        assert found[name]["queries"] == queries


SPEC = """
folders = ["toy"]
measure = ["nDCG@10", "R@2"]
max_length = 32
[[model]]
model = "{model}"
[[model]]
name = "own"
model = "{model}"
pooling = "sum"
query_prompt = "his "
document_max_length = 6
normalize = true
[[model]]
name = "tokens"
document_model = "{model}"
query_model = "{model}"
query_mode = "bow"
"""


@pytest.mark.long
def test_a_toml_gives_each_model_settings_of_its_own(
    sets: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each column is what encode, index, search and evaluate give by the same flags."""
    (tmp_path / "b.toml").write_text('root = "sets"\n' + SPEC.format(model=model))
    (tmp_path / "sets").symlink_to(sets)
    out = tmp_path / "out"
    status, printed, err = command_line.run(capfd, "beir", tmp_path / "b.toml", "-o", out, "--json")
    assert status == 0, err
    found = {r["model"]: r["means"] for r in json.loads(printed)["evaluations"]}
    assert list(found) == [model.name, "own", "tokens"]
    flags = {
        model.name: ("--max-length 32", "--max-length 32"),
        "own": (
            "--pooling sum --max-length 6 --normalize",
            "--pooling sum --max-length 32 --normalize --prompt his_",
        ),
        "tokens": ("--max-length 32", "--max-length 32 --query-mode bow"),
    }
    for name, (documents, queries) in flags.items():
        work = tmp_path / name
        work.mkdir()
        for line in (
            f"encode {sets}/toy -m {model} -o {work}/v {documents}",
            f"encode {sets}/toy --side query --split test -m {model} -o {work}/q {queries}",
            f"index {work}/v -e exact -o {work}/i",
            f"search {work}/i -q {work}/q --remove-query -o {work}/run",
        ):
            words = [word.replace("_", " ") if word == "his_" else word for word in line.split()]
            status, _, err = command_line.run(capfd, *words)
            assert status == 0, err
        asked = ["evaluate", sets / "toy", work / "run", "--json", "-M", "nDCG@10 R@2"]
        status, printed, err = command_line.run(capfd, *asked)
        assert status == 0, err
        assert found[name] == json.loads(printed)["measures"], name
    assert len({means["nDCG@10"] for means in found.values()}) > 1
    page = (out / "table.md").read_text()
    assert f"own: documents by {model.name} (sum pooling, normalized), queries by" in page
    assert "texts read to 6 or 32 tokens" in page
    again = sb.beir(tmp_path / "b.toml", output=out)
    assert again.done == {}
    with pytest.raises(UsageError, match="a TOML says how models are read and searched"):
        sb.beir(tmp_path / "b.toml", output=out, max_length=9)
    with pytest.raises(UsageError, match="a TOML names all folders and models"):
        sb.beir(tmp_path / "b.toml", model=model, output=out)


def test_flags_are_of_every_model(sets: Path, model: Path, tmp_path: Path) -> None:
    """By name, as a TOML says them by key."""
    (tmp_path / "b.toml").write_text(
        f'folders = ["{sets}/toy"]\n[[model]]\nmodel = "{model}"\npooling = "sum"\n'
        'query_prompt = "his "\nnormalize = true\n'
    )
    by_key = sb.beir(tmp_path / "b.toml", output=tmp_path / "a")
    by_name = sb.beir(
        sets / "toy", model=model, output=tmp_path / "b", pooling="sum", query_prompt="his ",
        normalize=True,
    )  # fmt: skip
    assert by_key.results[0].means == by_name.results[0].means
    assert by_key.results[0].means != sb.beir(
        sets / "toy", model=model, output=tmp_path / "c"
    ).results[0].means  # fmt: skip
