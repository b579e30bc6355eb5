"""Commands that write something: how each is given, and what it must leave behind."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bad_input import made
from small import MemorySource, random_matrix, trec_run, write_json_lines
from soak.frame import Finding, Subject, installed
from soak.processes import Ended, Forker, Running, environment, start_fresh
from splade_bridge.engines.registry import engine
from splade_bridge.files.outputs import manifest_file

OUT = "out.csv"
"""Of every command; folders are called so, too, and some commands ask for a suffix."""
DOCUMENTS, TERMS, QUERIES = 3000, 300, 60

OF_TORCH = ("encode", "train", "rerank", "beir", "export-model")
"""Commands that load torch."""

Prints = Mapping[str, object]
"""What two outputs must have in common: a hash of each file, or what stands for it."""


@dataclass(frozen=True)
class Command:
    """A command line, in a folder beside that of the inputs, that writes ``out``.

    Attributes:
        name: for the report.
        line: words; ``{w}`` is the folder of the inputs.
        old: another value of the same command, whose output is there before with ``--overwrite``;
            none where the command has no ``--overwrite``.
        grows: whether an unfinished output stands in its place, to be gone on with.
        work: whether parts to go on from may lie beside the output.
        prints: see :data:`Prints`; takes the output and what runs commands.
        slow: to be tried half as often.
    """

    name: str
    line: str
    old: tuple[str, str] | None = None
    grows: bool = False
    work: bool = False
    prints: Callable[[Path, Shop], Prints] | None = None
    slow: bool = False


class Shop:
    """The inputs of all commands, their undisturbed outputs, and what runs commands."""

    def __init__(self, folder: Path, *, light: bool = False) -> None:
        self.inputs = folder / "inputs"
        self._whole = folder / "whole"
        self.commands = commands(light=light)
        self._forkers: dict[bool, Forker] = {}
        self._last: Running | None = None
        self._known: dict[tuple[str, bool], Reference] = {}
        self._scratch = folder / "scratch"
        if not self.inputs.exists():
            self.inputs.mkdir()
            make_inputs(self.inputs, self._run_well, light=light)

    def words(self, command: Command, *, old: bool = False) -> list[str]:
        """The command line; with ``old`` that of what is there before."""
        line = command.line
        if old:
            assert command.old is not None
            line = line.replace(*command.old)
            assert line != command.line
        return line.replace("{w}", str(self.inputs)).split()

    def reference(self, command: Command, *, old: bool = False) -> Reference:
        """What an undisturbed run leaves, made when it is first asked for."""
        key = (command.name, old)
        if key not in self._known:
            folder = self._whole / f"{command.name.replace(' ', '-')}{'-old' if old else ''}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            ended = self._run_well(self.words(command, old=old), folder)
            self._known[key] = Reference(
                folder / OUT, listing(folder), self.prints(command, folder / OUT), ended.seconds
            )
        return self._known[key]

    def prints(self, command: Command, out: Path) -> Prints:
        """What of an output must be equal."""
        return command.prints(out, self) if command.prints else hashes(out)

    def start(
        self,
        words: list[str],
        work: Path,
        *,
        fresh: bool = False,
        limit: int | None = None,
        beside: Path | None = None,
    ) -> Running:
        """A command in ``work``; log and temporary files lie in ``beside``, else beside it."""
        work.mkdir(exist_ok=True)
        beside = beside or work.parent
        log, env = beside / "log", environment(beside)
        if fresh:
            self._last = start_fresh(words, work, log, env)
        else:
            self._last = self._forker(words).start(words, work, log, env, largest_file=limit)
        return self._last

    def _forker(self, words: list[str]) -> Forker:
        """One that has torch loaded for what needs it, and a small one, which forks faster."""
        light = words[0] not in OF_TORCH
        if light not in self._forkers:
            self._forkers[light] = Forker(light=light)
        return self._forkers[light]

    def run_of(self, index: Path) -> str:
        """A run of all queries on an index, hashed."""
        self._scratch.mkdir(exist_ok=True)
        try:
            words = ["search", str(index), "-q", str(self.inputs / "topics.tsv"), "-o", "run"]
            self._run_well(words, self._scratch)
            return hash_of(self._scratch / "run")
        finally:
            shutil.rmtree(self._scratch)

    def _run_well(self, words: list[str], work: Path) -> Ended:
        ended = self.start(words, work).finish(" ".join(words))
        if ended.code:
            raise Finding(f"undisturbed, {' '.join(words)} ended with {ended.code}\n{ended.err}")
        return ended

    def state(self, command: Command, out: Path, *, overwrite: bool) -> str:
        """What stands at ``out``: nothing, old, new, or part of what is gone on with.

        Raises:
            Finding: it is none of these.
        """
        if not out.exists():
            return "nothing"
        try:
            found = self.prints(command, out)
        except (FileNotFoundError, Finding):
            found = None
        if found == self.reference(command).prints:
            return "new"
        if overwrite and found == self.reference(command, old=True).prints:
            return "old"
        if command.grows and not manifest_file(out).exists():
            return "part"
        raise Finding(f"{command.line}: what is there is neither old, new nor unfinished")

    def begin(self, command: Command, work: Path, *, overwrite: bool) -> list[str]:
        """The command line for ``work``; with ``overwrite`` an old output is put there."""
        words = self.words(command)
        if overwrite:
            old = self.reference(command, old=True).out
            (shutil.copytree if old.is_dir() else shutil.copy2)(old, work / OUT)
            words.append("--overwrite")
        return words

    def finish(self, command: Command, work: Path, words: list[str], what: str) -> None:
        """The same command again, which must lead to what an undisturbed run leaves.

        Raises:
            Finding: it does not.
        """
        overwrite = "--overwrite" in words
        finished = self.state(command, work / OUT, overwrite=overwrite) == "new"
        ended = self.start(words, work).finish(f"{what}\nthen again")
        if ended.code and not (finished and not overwrite and ended.code == 2):
            raise Finding(f"{what}\nthen again: exit code {ended.code}\n{ended.err}")
        self.check_whole(command, work, f"{what}\nthen again")

    def check_whole(self, command: Command, work: Path, what: str) -> None:
        """Whether ``work`` holds what an undisturbed run leaves, and nothing else.

        Raises:
            Finding: it does not.
        """
        whole = self.reference(command)
        found = self.prints(command, work / OUT)
        if found != whole.prints:
            raise Finding(f"{what}: other output: {differing(whole.prints, found)}")
        if more := listing(work) - whole.beside:
            raise Finding(f"{what}: left beside the output: {sorted(more)}")

    def close(self) -> None:
        """End the processes that fork, and a command that Ctrl-C left running."""
        if self._last is not None:
            self._last.end_all()
        while self._forkers:
            self._forkers.popitem()[1].close()


_SHOPS: dict[Path, Shop] = {}


class ShopSubject(Subject):
    """A subject that runs commands; all such subjects of a campaign have one shop.

    Attributes:
        light: whether it makes do with commands that need neither torch nor Java.
    """

    light: ClassVar[bool] = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.place = folder.with_name("shop")
        if self.place not in _SHOPS:
            self.place.mkdir(exist_ok=True)
            _SHOPS[self.place] = Shop(self.place, light=self.light)
        self.shop = _SHOPS[self.place]

    def close(self) -> None:
        self.shop.close()
        _SHOPS.pop(self.place, None)


@dataclass(frozen=True)
class Reference:
    """An undisturbed output.

    Attributes:
        out: where it lies.
        beside: names in its folder.
        prints: what must be equal.
        seconds: that it took.
    """

    out: Path
    beside: frozenset[str]
    prints: Prints
    seconds: float


def differing(expected: Prints, found: Prints) -> str:
    """The keys that differ, and how."""
    keys = sorted(expected.keys() | found.keys())
    different = [key for key in keys if expected.get(key) != found.get(key)]
    told = [
        f"{key}: {'missing' if key not in found else 'new' if key not in expected else 'other'}"
        for key in different
    ]
    return "; ".join(told[:10])


def listing(folder: Path) -> frozenset[str]:
    """Names in a folder, hidden ones too."""
    return frozenset(path.name for path in folder.iterdir())


def hash_of(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashes(out: Path) -> Prints:
    """Of every file below ``out``, or of it."""
    if out.is_file():
        return {"": hash_of(out)}
    return {str(p.relative_to(out)): hash_of(p) for p in sorted(out.rglob("*")) if p.is_file()}


def _lucene_prints(out: Path, shop: Shop) -> Prints:
    """Lucene names segments by chance: the names of files, and what a search finds."""
    manifest = json.loads((out / "manifest.json").read_text())
    names = sorted({p.suffix for p in out.rglob("*") if p.is_file()})
    return {"counts": manifest["counts"], "names": names, "run": shop.run_of(out)}


def _training_prints(out: Path, shop: Shop) -> Prints:
    """All but logs, which tell times."""
    logs = ("log.jsonl", "README.md", "splade-bridge.json")
    found = hashes(out)
    return {n: h for n, h in found.items() if n not in logs and not n.startswith("tensorboard/")}


def _bm25_prints(out: Path, shop: Shop) -> Prints:
    """All but the Lucene index, whose files are named by chance, and the manifest of it all."""
    found = hashes(out)
    kept = {n: h for n, h in found.items() if not n.startswith("anserini/")}
    return {n: h for n, h in kept.items() if n != "manifest.json"} | {"counts": len(kept)}


def _beir_prints(out: Path, shop: Shop) -> Prints:
    """The tables, and the runs that lie in the work folder: all else there tells times."""
    found = hashes(out)
    return {n: h for n, h in found.items() if n.endswith((".md", ".tex", ".trec", ".tsv"))}


TIMES = {"latencies", "encoding_ms", "sessions", "seconds", "machine"}


def _comparison_prints(out: Path, shop: Shop) -> Prints:
    """results.json without times, and the names of all files but of steps that tell them."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: cut(v) for k, v in value.items() if k not in TIMES}
        return [cut(v) for v in value] if isinstance(value, list) else value

    names = {str(p.relative_to(out)): "there" for p in out.rglob("*") if "latency" not in str(p)}
    return names | {"results": cut(json.loads((out / "results.json").read_text()))}


def _bench_prints(out: Path, shop: Shop) -> Prints:
    """What is timed, without the times."""
    lines = out.read_text().splitlines()
    return {"lines": len(lines), "head": lines[0]}


ENCODE = f"encode {{w}}/texts.jsonl -m {{w}}/tiny -o {OUT} --part-rows 16 --max-length 32"
INDEX = f"index {{w}}/docs.jsonl -o {OUT}"
SEARCH = f"search {{w}}/%s -q {{w}}/topics.tsv -o {OUT} -k 100"
MLM = (
    "--vocab-size 80 --layers 1 --hidden 16 --heads 2 --intermediate 24 --block 24 --steps 6 "
    "--batch-size 4 --learning-rate 0.01 --warmup-steps 1 --log-every 1 --save-every 2"
)
OTHER_DOCUMENTS = ("docs.jsonl", "others.jsonl")
OTHER_HITS = ("-k 100", "-k 50")
OTHER_LENGTH = ("--max-length 32", "--max-length 16")


def commands(*, light: bool = False) -> list[Command]:
    """Those that this environment can run; the light ones need neither torch nor Java."""
    found = [
        *(
            Command(f"export {name}", f"export {{w}}/docs.jsonl -o {OUT} -f {name}{more}",
                    old=OTHER_DOCUMENTS)
            for name, more in (("jsonvector", " --docs-per-file 250"), ("ciff", " --memory 1M"),
                               ("forward", ""))
        ),
        Command("export vectors", f"export {{w}}/vectors -o {OUT} --scale 100 --gzip",
                old=("--scale 100", "--scale 50")),
        Command("index exact", f"{INDEX} -e exact --memory 1M", old=OTHER_DOCUMENTS),
        Command("search exact", SEARCH % "exact", old=OTHER_HITS),
        Command("search with latencies", SEARCH % "exact" + " --latencies times.tsv"),
        Command("prune impacts", f"prune {{w}}/export -o {OUT} --method top-k --value 10",
                old=("--value 10", "--value 5")),
        Command("prune vectors", f"prune {{w}}/vectors -o {OUT} --method mass-share --value 0.5",
                old=("0.5", "0.8")),
        Command("bench", f"bench {{w}}/exact -q {{w}}/topics.tsv -k 10 -o {OUT} --repeat 1",
                old=("-k 10", "-k 20"), prints=_bench_prints),
        Command("quantize-study", f"quantize-study {{w}}/vectors -q {{w}}/query-vectors -o {OUT} "
                "--scale 10 --scale 100", old=("--scale 100", "--scale 50")),
        Command("compare", f"compare {{w}}/spec.toml -o {OUT}", grows=True,
                prints=_comparison_prints, slow=True),
    ]  # fmt: skip
    if installed("lucene") and not light:
        found += [
            Command("index lucene", f"{INDEX} -e lucene", old=OTHER_DOCUMENTS,
                    prints=_lucene_prints, slow=True),
            Command("search lucene", SEARCH % "lucene", old=OTHER_HITS),
            Command("bm25", f"bm25 {{w}}/words.jsonl -q {{w}}/texts.tsv -o {OUT}",
                    prints=_bm25_prints, slow=True),
        ]  # fmt: skip
    if installed("pisa"):
        found += [
            Command("index pisa", f"{INDEX} -e pisa", old=OTHER_DOCUMENTS),
            Command("search pisa", SEARCH % "pisa", old=OTHER_HITS),
        ]
    if importlib.util.find_spec("torch") and not light:
        found += [
            Command("encode", f"{ENCODE} --threads 1", old=OTHER_LENGTH, grows=True),
            Command("encode in two processes", f"{ENCODE} --device cpu:2 --threads 2",
                    old=OTHER_LENGTH, grows=True, slow=True),
            Command("merge", f"merge {{w}}/shard0 {{w}}/shard1 -o {OUT}"),
            Command("rerank", f"rerank {{w}}/words.run -m {{w}}/cross -q {{w}}/texts.tsv -o {OUT} "
                    "--corpus {w}/words.jsonl --depth 20 --part-queries 8 --threads 1",
                    old=("--depth 20", "--depth 10"), work=True),
            Command("beir", f"beir {{w}}/beir -m {{w}}/tiny -o {OUT} --max-length 32", grows=True,
                    prints=_beir_prints, slow=True),
        ]  # fmt: skip
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("torch") and not light:
        found += [
            Command(f"export-model {kind}", f"export-model {{w}}/tiny -o {OUT} --to {kind}",
                    old=("--to", "--max-length 16 --to"), slow=True)
            for kind in ("onnx", "opensearch")
        ]  # fmt: skip
    if importlib.util.find_spec("sentence_transformers") and not light:
        found += [
            Command("train", f"train {{w}}/tiny.toml -o {OUT} --set train.save_every=2",
                    work=True, prints=_training_prints, slow=True),
            Command("mine", f"train mine -q {{w}}/texts.tsv --qrels {{w}}/qrels.txt -o {OUT} "
                    "--index {w}/exact --query-vectors {w}/topics.tsv --negatives 9",
                    old=("--negatives 9", "--negatives 5")),
            Command("score", "train score --pairs {w}/pairs.jsonl --teacher run --run {w}/run "
                    f"-o {OUT} --part-queries 7 --allow-missing", work=True),
            Command("mlm", f"train mlm -o {OUT} --texts {{w}}/plain.txt {MLM}", work=True,
                    prints=_training_prints, slow=True),
        ]  # fmt: skip
    return found


def choose(rng: random.Random, among: list[Command]) -> Command:
    """One of them; slow ones half as often."""
    return rng.choices(among, [1 if command.slow else 2 for command in among])[0]


def make_inputs(
    folder: Path, run: Callable[[list[str], Path], Ended], *, light: bool = False
) -> None:
    """What the commands read."""
    terms = [f"t{j}" for j in range(TERMS)]
    for name, seed in (("docs", 1), ("others", 2)):
        matrix = random_matrix(seed, DOCUMENTS, TERMS, 0.1, 300)
        write_json_lines(
            folder / f"{name}.jsonl",
            (
                {"id": f"d{i}", "contents": "", "vector": {f"t{j}": int(row[j]) for j in where}}
                for i, (row, where) in enumerate((r, np.flatnonzero(r)) for r in matrix)
            ),
        )
    weights = random_matrix(3, QUERIES, TERMS, 0.05, 4)
    topics = (" ".join(f"t{j}" for j in range(TERMS) for _ in range(row[j])) for row in weights)
    (folder / "topics.tsv").write_text("".join(f"q{i}\t{text}\n" for i, text in enumerate(topics)))
    judged = random.Random(4)
    (folder / "qrels.txt").write_text(
        "".join(f"q{i} 0 d{judged.randrange(DOCUMENTS)} 1\n" for i in range(QUERIES))
    )
    matrix = random_matrix(1, DOCUMENTS, TERMS, 0.1, 300)
    ids = [f"d{i}" for i in range(DOCUMENTS)]
    made.store_of(MemorySource(matrix, ids, terms), folder / "vectors")
    query_ids = [f"q{i}" for i in range(QUERIES)]
    made.store_of(MemorySource(weights, query_ids, terms), folder / "query-vectors")
    _texts(folder)
    for name in ("exact", "lucene", "pisa"):
        if installed(name) and not (light and name == "lucene"):
            engine(name).build(MemorySource(matrix, ids, terms), folder / name)
    run(["export", str(folder / "docs.jsonl"), "-o", str(folder / "export")], folder)
    words = f"search {folder}/exact -q {folder}/topics.tsv -o run -k 50"
    run(words.split(), folder)
    (folder / "spec.toml").write_text(
        SPEC.replace("PISA", "pisa = []" if installed("pisa") else "")
    )
    if importlib.util.find_spec("torch") and not light:
        from checkpoints import save_bert, write_corpus
        from tiny_training import World

        world = World(folder)
        world.recipe()
        save_bert(folder / "cross", "cross-encoder")
        _beir_folder(folder / "beir", world.documents, world.queries, world.qrels)
        write_corpus(folder / "texts.jsonl", 200)
        shard = ENCODE.replace("{w}", str(folder)).replace(f"-o {OUT}", "--threads 1")
        for i in (0, 1):
            run([*shard.split(), "--shard", f"{i}/2", "-o", f"shard{i}"], folder)
    (folder.parent / "log").unlink(missing_ok=True)


def _beir_folder(
    folder: Path,
    documents: Mapping[str, str],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
) -> None:
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", documents), ("queries", queries)):
        rows = ({"_id": i, "title": "", "text": text} for i, text in texts.items())
        write_json_lines(folder / f"{name}.jsonl", rows)
    judged = (f"{q}\t{d}\t{grade}\n" for q, found in qrels.items() for d, grade in found.items())
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))


def _texts(folder: Path) -> None:
    """Texts of no model: a collection and queries, pairs of them, and lines."""
    rng = random.Random(5)

    def some() -> str:
        return " ".join(rng.choice(WORDS) for _ in range(20))

    words = [{"id": f"d{i}", "text": some()} for i in range(400)]
    write_json_lines(folder / "words.jsonl", words)
    (folder / "texts.tsv").write_text("".join(f"q{i}\t{some()}\n" for i in range(QUERIES)))
    (folder / "plain.txt").write_text("".join(f"{some()}\n" for _ in range(60)))
    pairs = (
        {"query_id": f"q{i}", "positives": [f"d{i}"], "negatives": [f"d{i + 1}", f"d{i + 2}"]}
        for i in range(QUERIES)
    )
    write_json_lines(folder / "pairs.jsonl", pairs)
    found = {f"q{i}": [(f"d{j}", 99 - j % 97) for j in rng.sample(range(400), 40)]
             for i in range(QUERIES)}  # fmt: skip
    (folder / "words.run").write_text(trec_run(found))


WORDS = ["of", "the", "apple", "runs", "under", "a", "very", "blue", "sky", "birds", "sing", "loud"]
SPEC = """
title = "small"
baseline = "full"
[data]
documents = "docs.jsonl"
queries = "topics.tsv"
qrels = "qrels.txt"
measures = ["nDCG@10", "R@100"]
depth = 100
[engines]
exact = []
PISA
[bench]
ks = [10]
repeat = 1
queries = 5
[[variant]]
name = "full"
[[sweep]]
method = "top-k"
values = [2, 10]
"""
