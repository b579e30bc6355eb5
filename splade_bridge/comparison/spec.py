"""The specification of a comparison: variants, what they come from, and how they are measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from splade_bridge.data.ids import quoted
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.encoding.choices import ModelChoices, Pooling
from splade_bridge.engines.base import BuildOptions
from splade_bridge.evaluation.significance import SignificanceOptions
from splade_bridge.pruning.policy import Policy
from splade_bridge.retrieval.fusion import FusionOptions
from splade_bridge.retrieval.rerank import RerankOptions
from splade_bridge.retrieval.two_step import TwoStepOptions

MAX_LENGTH = 256


@dataclass(frozen=True)
class Vectors:
    """Sparse vectors that are there already."""

    path: Path


@dataclass(frozen=True)
class ToTrain:
    """A model that a recipe trains: a file or a recipe's name, and ``train --set`` overrides."""

    recipe: str
    overrides: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = f" with {', '.join(self.overrides)}" if self.overrides else ""
        return f"recipe {Path(self.recipe).stem}{said}"


@dataclass(frozen=True)
class Encoded:
    """Text that a model encodes.

    Attributes:
        model: a folder, a graph of ONNX, a name of the hub, or one to be trained.
        max_length: tokens of a text that are read.
        pooling: over positions; None for what was saved with the model.
        checkpoint: how it is read.
    """

    corpus: str
    model: str | ToTrain
    max_length: int = MAX_LENGTH
    pooling: Pooling | None = None
    checkpoint: ModelChoices = ModelChoices()

    @property
    def encoder(self) -> str:
        """The model in words."""
        named = str(self.model) if isinstance(self.model, ToTrain) else Path(self.model).name
        said = self.checkpoint
        how = [f"revision {said.revision}"] * (said.revision is not None)
        how += [f"prompt {quoted(said.prompt)}"] * (said.prompt is not None)
        how += [f"prompt {said.prompt_name}"] * (said.prompt_name is not None)
        how += [said.query_mode] * (said.query_mode != "model")
        how += [f"{self.pooling} pooling"] * (self.pooling is not None)
        how += ["normalized"] * said.normalize
        return f"{named} ({', '.join(how)})" if how else named


@dataclass(frozen=True)
class Bm25:
    """Text that BM25 weighs (both sides come from one making)."""

    corpus: str
    topics: str
    k1: float
    b: float


Source = Vectors | Encoded | Bm25
"""Where vectors come from."""


@dataclass(frozen=True)
class TwoStep:
    """Candidates from pruned documents and queries, rescored with the full vectors."""

    documents: tuple[Policy, ...]
    search: TwoStepOptions


@dataclass(frozen=True)
class Rerank:
    """A last step: the best documents, ordered anew by a model that reads their texts."""

    model: str
    corpus: str
    topics: str
    options: RerankOptions


@dataclass(frozen=True)
class Variant:
    """One way to make an index and ask it.

    Attributes:
        group: colour and shape in charts; ``label``: short name beside the mark.
        quantize: None takes the source's own default.
        documents_pruned, queries_pruned: policies in order, on impacts.
        rerank: what is done with the run of a search; latencies are without it.
        published: name of the model whose published figures are shown.
    """

    name: str
    documents: Source
    queries: Source
    group: str
    label: str
    quantize: QuantizeOptions | None = None
    query_quantize: QuantizeOptions | None = None
    documents_pruned: tuple[Policy, ...] = ()
    queries_pruned: tuple[Policy, ...] = ()
    min_terms: int = 1
    two_step: TwoStep | None = None
    rerank: Rerank | None = None
    published: str | None = None

    def steps(self) -> list[str]:
        """How it is made, in words, without what the source is."""
        said = []
        for side, source in (("documents", self.documents), ("queries", self.queries)):
            if isinstance(source, Encoded):
                said.append(f"{side} by {source.encoder}")
        if isinstance(self.documents, Bm25):
            said.append(f"BM25 k1 {self.documents.k1:g} b {self.documents.b:g}")
        for name, options in (("", self.quantize), ("query ", self.query_quantize)):
            if options:
                said += [f"{name}scale {options.scale:g}"] if options.scale is not None else []
                said += [f"{name}rounded {options.rounding}"] * (options.rounding == "down")
                said += [f"{name}clip {options.clip}"] * (options.clip is not None)
        said += [f"documents {named(p)}" for p in self.documents_pruned]
        said += [f"queries {named(p)}" for p in self.queries_pruned]
        if self.two_step:
            search = self.two_step.search
            first = [f"documents {named(p)}" for p in self.two_step.documents]
            first += [f"{search.first_query_terms} query terms"] * bool(search.first_query_terms)
            said.append(f"first step: {', '.join(first)}, {search.candidates:,} rescored")
        if self.rerank:
            last = self.rerank
            said.append(f"the best {last.options.depth:,} reranked by {Path(last.model).name}")
        return said


@dataclass(frozen=True)
class FusedVariants:
    """Variants whose runs are fused, a system beside them.

    Attributes:
        of: their names; each is searched to ``options.depth``.
        group, label: as of a :class:`Variant`.
    """

    name: str
    of: tuple[str, ...]
    options: FusionOptions
    group: str
    label: str


@dataclass(frozen=True)
class TimingOptions:
    """How latencies are measured.

    Attributes:
        ks: depths; ``repeat``: timed passes that count.
        queries: how many are sampled; None takes all.
    """

    ks: tuple[int, ...] = (10, 1000)
    repeat: int = 3
    queries: int | None = 100
    seed: int = 0


@dataclass(frozen=True)
class Spec:
    """A whole comparison.

    Attributes:
        algorithms: engine -> algorithms to time; empty for the engine's default.
        depth: of the runs that are evaluated.
        fusions: of variants; none is the baseline.
        engine_options: engine -> its own options, for those that have any.
        trust_remote_code: run code that comes with a checkpoint, which may do anything.
    """

    file: Path
    title: str
    collection: str | None
    qrels: Path
    measures: tuple[str, ...]
    remove_query: bool
    depth: int
    variants: tuple[Variant, ...]
    baseline: str
    algorithms: dict[str, tuple[str, ...]]
    bench: TimingOptions = TimingOptions()
    index: BuildOptions = BuildOptions()
    engine_options: dict[str, Any] = field(default_factory=dict)
    significance: SignificanceOptions = SignificanceOptions()
    fusions: tuple[FusedVariants, ...] = ()
    trust_remote_code: bool = False

    def parts(self, fusion: FusedVariants) -> list[Variant]:
        """The variants of a fusion, in its order."""
        named = {v.name: v for v in self.variants}
        return [named[name] for name in fusion.of]


def named(step: Policy) -> str:
    """A policy in words."""
    value = step.value
    return f"{step.method} {value:g}" if isinstance(value, float) else f"{step.method} {value}"
