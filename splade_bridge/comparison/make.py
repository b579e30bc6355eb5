"""The steps of a comparison: vectors, indexes, runs, measures, agreement; each is done once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from splade_bridge.comparison.addressed import (
    dropped,
    engine_address,
    is_there,
    load_variant,
)
from splade_bridge.comparison.check import Checked
from splade_bridge.comparison.spec import (
    Bm25,
    Encoded,
    FusedVariants,
    Rerank,
    Source,
    Spec,
    ToTrain,
    Variant,
    Vectors,
)
from splade_bridge.comparison.steps import ASIDE, VERSIONS, Hashes, Step, Steps, digest
from splade_bridge.comparison.versions import decisive
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.manifest import Manifest, Side
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.data.store import OtherPlanError
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.engines.base import AUTO
from splade_bridge.engines.registry import ENGINES, engine
from splade_bridge.errors import MismatchError
from splade_bridge.evaluation.agreement import agreement, rankings
from splade_bridge.evaluation.bench import size_on_disk, time_encoding
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.files.address import Address, Place, place_of
from splade_bridge.files.outputs import MANIFEST, manifest_file
from splade_bridge.files.writing import sha256_file
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.forward import FORWARD_FOLDER, write_forward
from splade_bridge.formats.queries import Queries, read_queries
from splade_bridge.pruning.policy import Policy
from splade_bridge.pruning.source import PrunedSource, pruned_queries
from splade_bridge.retrieval.fusion import RunLists, fuse, write_fused
from splade_bridge.retrieval.runs import read_run
from splade_bridge.retrieval.search import Beside, SearchOptions, search_to_run
from splade_bridge.text.corpora import Role, Text, corpus_files, read_texts

ADDRESS = "address"
"""In the outcome of an index: where it is, if that is no folder of the step."""
INDEX, RUN, VECTORS, BM25, CHECKPOINT = "index", "run.trec.zst", "vectors", "bm25", "checkpoint"


@dataclass(frozen=True)
class Documents:
    """The documents of one index, ready to be read.

    Attributes:
        path: a vector store or an export.
        inputs: what decides their impacts, for the hashes of steps.
    """

    path: Path
    quantize: QuantizeOptions | None
    policies: tuple[Policy, ...]
    min_terms: int
    inputs: dict[str, Any]

    def open(self, memory: int, temporary: Path) -> ImpactSource:
        """The impacts, quantized and pruned."""
        plain = partial(
            open_source, self.path, quantize=self.quantize, memory=memory, temporary=temporary
        )
        if not self.policies:
            return plain()
        return PrunedSource(
            plain, self.policies, min_terms=self.min_terms, memory=memory, temporary=temporary
        )


class Maker:
    """Makes what a comparison needs, and remembers it in ``steps``."""

    def __init__(
        self, spec: Spec, checked: Checked, steps: Steps, *, allow_mismatch: bool = False
    ) -> None:
        self.spec = spec
        self.checked = checked
        self.steps = steps
        self.hashes = Hashes(steps.folder / "hashes.json")
        self._allow_mismatch = allow_mismatch
        self._queries: dict[str, tuple[Queries, str]] = {}

    def sources(self, variant: Variant) -> list[Step]:
        """The steps that made the variant's vectors; none for vectors that were given."""
        found: dict[str, Step] = {}
        sides: list[tuple[Side, Source]]
        sides = [("document", variant.documents), ("query", variant.queries)]
        for side, source in sides:
            if isinstance(source, Encoded):
                if isinstance(source.model, ToTrain):
                    step = self._trained(source.model)
                    found[step.key] = step
                step = self._encoded(source, side)
                found[step.key] = step
            elif isinstance(source, Bm25):
                step = self._bm25(source)
                found[step.key] = step
        return list(found.values())

    def documents(self, variant: Variant, more: tuple[Policy, ...] = ()) -> Documents:
        """What the variant indexes; ``more`` policies make it the first of two steps."""
        path, inputs = self._vectors(variant.documents, "document")
        policies = variant.documents_pruned + more
        if policies:
            inputs |= {"pruned": plain(policies), "min_terms": variant.min_terms}
        if variant.quantize:
            inputs["quantize"] = variant.quantize
        return Documents(path, variant.quantize, policies, variant.min_terms, inputs)

    def queries(self, variant: Variant) -> Queries:
        """What the variant asks, quantized and pruned: the judged queries that the baseline has.

        Every variant is asked the same in the same order. Queries without judgements would count
        for nothing.

        Raises:
            MismatchError: the variant lacks a query that the baseline has.
        """
        return self._queries_and_digest(variant)[0]

    def _queries_and_digest(self, variant: Variant) -> tuple[Queries, str]:
        path, inputs = self._vectors(variant.queries, "query")
        policies = variant.queries_pruned
        inputs |= {"quantize": variant.query_quantize, "pruned": plain(policies)}
        key = digest(inputs | {"min_terms": variant.min_terms})
        if key not in self._queries:
            found = chosen(read_queries(path, variant.query_quantize), self._asked(variant, path))
            if policies:
                found = pruned_queries(found, policies, min_terms=variant.min_terms)
            found = replace(found, allow_mismatch=self._allow_mismatch)
            self._queries[key] = found, queries_digest(found)
        return self._queries[key]

    def _asked(self, variant: Variant, path: Path) -> list[str]:
        judged, baseline = self.checked.qrels, self.spec.baseline
        if variant.name == baseline:
            there = set(read_queries(path, variant.query_quantize).batch.ids)
            if ids := [query_id for query_id in judged if query_id in there]:
                return ids
            raise MismatchError(f"{self.spec.qrels}: judges none of the queries in {path}")
        first = next(v for v in self.spec.variants if v.name == baseline)
        return self.queries(first).batch.ids

    def index(self, variant: Variant, name: str, *, there: bool = False) -> Step:
        """One engine's index; of its first step if it has two.

        Args:
            there: the index itself is needed and not only what is known of it, so that one that
                was dropped is built again.
        """
        more = variant.two_step.documents if variant.two_step else ()
        documents = self.documents(variant, more)
        if (address := engine_address(name)) is not None:
            return self._loaded(variant, documents, address, there=there)
        chosen = engine(name, self.spec.engine_options.get(name))
        inputs = {
            "documents": documents.inputs,
            "engine": name,
            "options": chosen.recorded(),
            VERSIONS: chosen.tools(),
        }

        def make(folder: Path) -> dict[str, Any]:
            out = folder / INDEX
            source = documents.open(self.spec.index.memory, folder)
            manifest = chosen.build(source, out, self.spec.index, overwrite=True)
            return {**_of_index(manifest), "bytes": size_on_disk(out)}

        known = self.steps.known("index", inputs)
        if known and there and not (known.folder / INDEX / MANIFEST).is_file():
            self.steps.forget("index", inputs)
        return self.steps.run("index", f"{variant.name}: index for {name}", inputs, make)

    def _loaded(
        self, variant: Variant, documents: Documents, address: Address, *, there: bool
    ) -> Step:
        """The index of a variant behind an address; its build is a load."""
        own = self.spec.engine_options.get(address.scheme)
        inputs = {"documents": documents.inputs, "engine": str(address), "options": own}
        memory = self.spec.index.memory

        def make(folder: Path) -> dict[str, Any]:
            done = load_variant(address, lambda: documents.open(memory, folder), folder, own)
            return {
                **_of_index(done.manifest),
                "bytes": done.bytes,
                "server": done.server,
                ADDRESS: str(done.address),
            }

        known = self.steps.known("index", inputs)
        if known and there and not is_there(_address(known)):
            self.steps.forget("index", inputs)
        return self.steps.run("index", f"{variant.name}: load into {address}", inputs, make)

    def index_path(self, variant: Variant, name: str) -> Place:
        """The folder of the index, or its address."""
        step = self.index(variant, name, there=True)
        return _address(step) if ADDRESS in step.outcome else step.folder / INDEX

    def forward(self, variant: Variant) -> Step | None:
        """The full vectors that a variant with two steps rescores with."""
        if variant.two_step is None:
            return None
        documents = self.documents(variant)

        def make(folder: Path) -> dict[str, Any]:
            out = folder / FORWARD_FOLDER
            shutil.rmtree(out, ignore_errors=True)
            memory = self.spec.index.memory
            counts = write_forward(out, documents.open(memory, folder), memory)
            return {"bytes": size_on_disk(out), "postings": counts.postings}

        what = f"{variant.name}: full vectors for the second step"
        return self.steps.run("forward", what, {"documents": documents.inputs}, make)

    def asked(self, variant: Variant, name: str) -> dict[str, Any]:
        """What decides the answers of one engine to a variant's queries."""
        found: dict[str, Any] = {
            "index": self.index(variant, name).key,
            "queries": self._queries_and_digest(variant)[1],
        }
        if variant.two_step and (forward := self.forward(variant)):
            found |= {"forward": forward.key, "two_step": variant.two_step.search}
        return found

    def options(self, variant: Variant, name: str, k: int, algorithm: str | None) -> SearchOptions:
        """How the variant is searched in one engine."""
        plain_options = SearchOptions(
            k, algorithm, remove_query=self.spec.remove_query, memory=self.checked.memory.get(name)
        )
        forward = self.forward(variant)
        if variant.two_step is None or forward is None:
            return plain_options
        return replace(
            plain_options,
            two_step=forward.folder / FORWARD_FOLDER,
            first_query_terms=variant.two_step.search.first_query_terms,
            candidates=variant.two_step.search.candidates,
        )

    def run(self, variant: Variant, name: str) -> Step:
        """All queries searched to the depth that is evaluated."""
        spec = self.spec
        if variant.rerank:
            return self._reranked(variant, variant.rerank, name)
        algorithm = next((a for a in self.checked.algorithms[name] if a != AUTO), None)
        compared = variant.two_step and not is_approximate(name)
        exact = self.run(replace(variant, two_step=None), name) if compared else None

        def make(folder: Path) -> dict[str, Any]:
            out = folder / RUN
            found = search_to_run(
                self.index_path(variant, name),
                self.queries(variant),
                out,
                self.options(variant, name, spec.depth, algorithm),
                Beside(exact_run=exact.folder / RUN if exact else None, recall=True),
            )
            if found.kept and is_approximate(name):
                told = (f"{share:.2%} of the top {cut}" for cut, share in found.kept.share.items())
                self.steps.say(f"{variant.name}: {name} finds {', '.join(told)}")
            return {
                "sha256": sha256_file(out),
                "queries": found.queries,
                "without_results": len(found.without_results),
                "qd_flops": found.qd_flops,
                "kept": found.kept.share if found.kept else {},
            }

        inputs = {
            **self.asked(variant, name),
            "depth": spec.depth,
            "algorithm": algorithm,
            "remove_query": spec.remove_query,
        }
        return self.steps.run("run", f"{variant.name}: search with {name}", inputs, make)

    def _reranked(self, variant: Variant, last: Rerank, name: str) -> Step:
        from splade_bridge.encoding.snapshot import model_place
        from splade_bridge.retrieval.rerank import rerank_to_run

        first = self.run(replace(variant, rerank=None), name)
        place = model_place(last.model, last.options.computing.checkpoint.revision)
        options = replace(last.options, k=self.spec.depth)
        inputs = {
            "run": first.outcome["sha256"],
            "model": _model_digest([place]),
            "corpus": self._texts(last.corpus, "documents"),
            "topics": self._texts(last.topics, "queries"),
            "options": options,
            VERSIONS: decisive("rerank"),
        }

        def make(folder: Path) -> dict[str, Any]:
            out = folder / RUN
            found = rerank_to_run(
                first.folder / RUN, out, last.model, last.corpus, last.topics, options
            )
            return {**first.outcome, "sha256": sha256_file(out), "pairs": found.pairs}

        what = f"{variant.name}: reranked after {name}"
        return self.steps.run("rerank", what, inputs, make)

    def fused(self, fusion: FusedVariants, name: str) -> Step:
        """The runs of one engine for the variants of a fusion, fused."""
        runs = [self.run(v, name) for v in self.spec.parts(fusion)]
        inputs = {
            "runs": [run.outcome["sha256"] for run in runs],
            "fusion": fusion.options,
            "depth": self.spec.depth,
        }

        def make(folder: Path) -> dict[str, Any]:
            out = folder / RUN
            lists = RunLists(run.folder / RUN for run in runs)
            found = write_fused(fuse(lists, fusion.options, self.spec.depth), out)
            return {"sha256": sha256_file(out), "queries": found.queries}

        return self.steps.run("fusion", f"{fusion.name}: fused with {name}", inputs, make)

    def query_encoding(self, variant: Variant) -> Step | None:
        """Milliseconds in which one thread encodes a query; None where queries are vectors."""
        source = variant.queries
        if not isinstance(source, Encoded):
            return None

        def make(folder: Path) -> dict[str, Any]:
            _, latency = time_encoding(
                source.corpus,
                self._model(source),
                max_length=source.max_length,
                checkpoint=source.checkpoint,
            )
            return asdict(latency)

        inputs = {"encoded": self._encoded(source, "query").key}
        what = f"latency of encoding queries by {source.encoder}"
        return self.steps.run("query-encoding", what, inputs, make)

    def evaluation(self, run: Step) -> Step:
        """Means and per-query values of a run."""
        inputs = {
            "run": run.outcome["sha256"],
            "qrels": self._qrels(),
            "measures": list(self.spec.measures),
            VERSIONS: decisive("evaluation"),
        }

        def make(folder: Path) -> dict[str, Any]:
            found = evaluate(self.checked.qrels, read_run(run.folder / RUN), self.spec.measures)
            per_query: dict[str, dict[str, float]] = {m: {} for m in self.spec.measures}
            for query_id, values in found.per_query.items():
                for measure, value in values.items():
                    per_query[measure][query_id] = value
            return {"means": found.means, "per_query": per_query}

        return self.steps.run("evaluation", "measures of a run", inputs, make)

    def _qrels(self) -> str:
        """What identifies the judgements: the hash of their file, or of a data set's grades."""
        path = self.spec.qrels
        return self.hashes.of(path) if path.is_file() else digest(self.checked.qrels)

    def agreement(self, run: Step, baseline: Step, depths: Sequence[int], p: float) -> Step:
        """Overlap and RBO of a run with the baseline's."""
        inputs = {
            "runs": [baseline.outcome["sha256"], run.outcome["sha256"]],
            "depths": list(depths),
            "persistence": p,
        }

        def make(folder: Path) -> dict[str, Any]:
            first, second = (rankings(read_run(s.folder / RUN)) for s in (baseline, run))
            return agreement(first, second, depths, p).means

        return self.steps.run("agreement", "agreement of two runs", inputs, make)

    def drop_indexes(self) -> int:
        """Delete all indexes, also of variants that are no more; the bytes that this freed."""
        freed = sum(
            dropped(_address(step))
            for variant in self.spec.variants
            for name in self.checked.algorithms
            if ADDRESS in (step := self.index(variant, name)).outcome
        )
        for folder in self.steps.folder.glob(f"index/*/{INDEX}"):
            freed += size_on_disk(folder)
            shutil.rmtree(folder)
        return freed

    def _vectors(self, source: Source, side: Side) -> tuple[Path, dict[str, Any]]:
        if isinstance(source, Vectors):
            return source.path, {"vectors": self.hashes.of(source.path)}
        if isinstance(source, Encoded):
            step = self._encoded(source, side)
            return step.folder / VECTORS, {"encoded": step.key}
        step = self._bm25(source)
        name = "documents" if side == "document" else "queries"
        return step.folder / BM25 / name, {"bm25": step.key}

    def _encoded(self, source: Encoded, side: Side) -> Step:
        from splade_bridge.encoding.adapters import adapter_chain
        from splade_bridge.encoding.snapshot import model_place

        name = self._model(source)
        place = model_place(name, source.checkpoint.revision)
        role: Role = "documents" if side == "document" else "queries"
        inputs = {
            "model": _model_digest(adapter_chain(place)),
            "side": side,
            "max_length": source.max_length,
            **self._texts(source.corpus, role),
            VERSIONS: decisive("encode"),
        }
        if source.pooling is not None:
            inputs["pooling"] = source.pooling
        if source.checkpoint != ModelChoices():
            inputs["checkpoint"] = source.checkpoint
        if role == "queries":
            inputs["judged"] = sorted(self.checked.qrels)
        what = f"{role} encoded by {source.encoder}"

        def make(folder: Path) -> dict[str, Any]:
            from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
            from splade_bridge.encoding.runner import encode_to_store

            options = EncodeOptions(
                max_length=source.max_length,
                pooling=source.pooling,
                checkpoint=source.checkpoint,
            )
            encoder = load_encoder(name, "query" if side == "query" else "document", options)
            out = folder / VECTORS

            def encode() -> Manifest:
                return encode_to_store(
                    self._read(source.corpus, role), encoder, out, corpus=source.corpus,
                    files=corpus_files(source.corpus, role), overwrite=manifest_file(out).exists(),
                )  # fmt: skip

            try:
                manifest = encode()
            except OtherPlanError as error:  # model or corpus were found under another name
                left = folder.with_name(f"{folder.name}{ASIDE}")
                shutil.rmtree(left, ignore_errors=True)
                out.replace(left)
                self.steps.say(
                    f"{what}: begun again ({error.changes}); what was begun is in {left}"
                )
                manifest = encode()
            return {"documents": manifest.counts.documents, "bytes": size_on_disk(out)}

        return self.steps.run("encode", what, inputs, make)

    def _model(self, source: Encoded) -> str:
        """Folder or hub name of the model, which is trained first if it is to be."""
        if isinstance(source.model, str):
            return source.model
        return str(self._trained(source.model).folder / CHECKPOINT)

    def _trained(self, model: ToTrain) -> Step:
        from splade_bridge.training.recipe import input_files, read_recipe, to_toml
        from splade_bridge.training.train import precision_of

        recipe = read_recipe(model.recipe, model.overrides)
        hashes = {str(path): self.hashes.of(path) for path in input_files(recipe)}

        def make(folder: Path) -> dict[str, Any]:
            from splade_bridge.training.train import train

            out = folder / CHECKPOINT
            if not out.exists():  # a training that was interrupted goes on from its checkpoint
                trusted = self.spec.trust_remote_code
                train(recipe, out, trust_remote_code=trusted, say=self.steps.say)
            return {"bytes": size_on_disk(out)}

        versions = decisive("train") | {"dtype": precision_of(recipe)}
        inputs = {"recipe": to_toml(recipe), "files": hashes, VERSIONS: versions}
        return self.steps.run("train", f"training by {model}", inputs, make)

    def _bm25(self, source: Bm25) -> Step:
        inputs = {
            "k1": source.k1,
            "b": source.b,
            "documents": self._texts(source.corpus, "documents"),
            "queries": self._texts(source.topics, "queries"),
            "judged": sorted(self.checked.qrels),
            "depth": self.spec.depth,
            "remove_query": self.spec.remove_query,
            VERSIONS: engine("lucene").tools(),
        }

        def make(folder: Path) -> dict[str, Any]:
            from splade_bridge.engines.bm25 import Bm25Options, build_bm25

            options = Bm25Options(
                source.k1, source.b, self.spec.depth, self.spec.remove_query,
                self.spec.index.threads, self.spec.index.memory,
            )  # fmt: skip
            build_bm25(
                self._read(source.corpus, "documents"), self._read(source.topics, "queries"),
                folder / BM25, options, overwrite=True,
            )  # fmt: skip
            return {"bytes": size_on_disk(folder / BM25)}

        return self.steps.run("bm25", "BM25 weights of the text", inputs, make)

    def _read(self, corpus: str, role: Role) -> Iterator[Text]:
        """The texts; of queries only those that are judged."""
        texts = read_texts(corpus, role)
        judged = self.checked.qrels
        return texts if role == "documents" else (t for t in texts if t.id in judged)

    def _texts(self, corpus: str, role: Role) -> dict[str, Any]:
        files = corpus_files(corpus, role)
        return {"text": [self.hashes.of(f) for f in files] or corpus}


def _model_digest(places: Sequence[Path]) -> str:
    """One hash over a model, and what it adapts; the first of ``places`` is what was named."""
    from splade_bridge.encoding.naver import model_inputs
    from splade_bridge.encoding.snapshot import files_sha256, model_files

    root = places[0] if places[0].is_dir() else places[0].parent
    files = [file for place in places for file in model_files(place)]
    beside = [file for place in places for file in model_inputs(place)[1:]]
    return files_sha256([*files, *beside], root)


def plain(policies: Sequence[Policy]) -> list[dict[str, Any]]:
    """Policies as JSON."""
    return [
        {"method": p.method, "value": p.value, "terms": sorted(getattr(p, "listed", ()))}
        for p in policies
    ]


def is_approximate(name: str) -> bool:
    """Whether an engine may leave out documents that belong among the best."""
    return name in ENGINES and ENGINES[name].approximate


def agree(engines: Sequence[str], runs: Sequence[Step]) -> bool:
    """Whether all exact engines wrote the same run."""
    pairs = zip(engines, runs, strict=True)
    return len({run.outcome["sha256"] for name, run in pairs if not is_approximate(name)}) <= 1


def recall_of(name: str, run: Step) -> dict[int, float]:
    """The share of the exact top k that an approximate engine found, by k; none for others."""
    kept = run.outcome["kept"] if is_approximate(name) else {}
    return {int(k): share for k, share in kept.items()}


def chosen(queries: Queries, ids: Sequence[str]) -> Queries:
    """Only the queries called ``ids``, in that order.

    Raises:
        MismatchError: one of them is not there.
    """
    batch = queries.batch
    rows = {query_id: i for i, query_id in enumerate(batch.ids)}
    for query_id in ids:
        if query_id not in rows:
            raise MismatchError(
                f"{queries.path}: has no query {query_id}, which other variants are asked"
            )
    if list(ids) == batch.ids:
        return queries
    return replace(queries, batch=batch.take([rows[i] for i in ids]))


def queries_digest(queries: Queries) -> str:
    """Of ids, terms and impacts, however they were stored."""
    rows = []
    for i, query_id in enumerate(queries.batch.ids):
        terms, impacts = (column.tolist() for column in queries.batch.row(i))
        named = zip([queries.vocabulary[t] for t in terms], impacts, strict=True)
        rows.append([query_id, sorted(named)])
    return digest(rows)


def _of_index(manifest: Manifest) -> dict[str, Any]:
    """What is known of an index, wherever it is."""
    counts = asdict(manifest.counts)
    return {
        "counts": {k: v for k, v in counts.items() if k != "empty_ids"},
        "pruning": manifest.pruning,
    }


def _address(step: Step) -> Address:
    """Where the index of a step is, if it is behind an address."""
    found = place_of(step.outcome[ADDRESS])
    assert isinstance(found, Address)
    return found
