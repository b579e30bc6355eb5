"""Everything that can be known to be wrong before any work starts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from splade_bridge.comparison.addressed import check_address, engine_address
from splade_bridge.comparison.spec import Bm25, Encoded, Spec, ToTrain, Variant, Vectors
from splade_bridge.conversion.detect import open_source
from splade_bridge.engines.base import AUTO, memory_for_none
from splade_bridge.engines.registry import engine
from splade_bridge.errors import BadInputError, SpladeBridgeError, UsageError, require
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.measures import cutoff, parse_measures
from splade_bridge.evaluation.qrels import Qrels, read_qrels
from splade_bridge.files.inputs import is_there
from splade_bridge.formats.queries import read_queries
from splade_bridge.text.corpora import Role, read_texts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """What was read while checking.

    Attributes:
        algorithms: engine -> what is timed, none left empty; the first searches the runs.
        memory: engine -> bytes that its indexes are searched with, where that is limited.
    """

    qrels: Qrels
    algorithms: dict[str, list[str]]
    memory: dict[str, int]


def check(spec: Spec, memory: int | None = None) -> Checked:
    """Open every input and look for every tool.

    Args:
        memory: bytes for every index that takes a limit.

    Raises:
        BadInputError: an input is missing or not what it should be; the message names the variant.
        MissingToolError: an engine, Java or a model is not there.
        UsageError: a measure or an algorithm is unknown; ``memory`` is not enough, or no engine
            takes it.
    """
    try:
        evaluate({"q": {"d": 1}}, {"q": {"d": 1.0}}, spec.measures)
    except UsageError as error:
        raise BadInputError(f"[data] measures: {error}", str(spec.file)) from error
    deeper = [n for n, m in parse_measures(spec.measures).items() if (cutoff(m) or 0) > spec.depth]
    if deeper:
        log.warning(
            "%s: runs hold [data] depth = %d documents a query: %s cannot count what a deeper run "
            "would have found",
            spec.file, spec.depth, ", ".join(deeper),
        )  # fmt: skip
    algorithms, limited = {}, {}
    for name, chosen in spec.algorithms.items():
        known: tuple[str, ...]
        if (address := engine_address(name)) is not None:
            known = check_address(address)
        else:
            chosen_engine = engine(name, spec.engine_options.get(name))
            chosen_engine.check_installed()
            known = chosen_engine.algorithms
            if memory is not None and chosen_engine.takes_memory(memory):
                limited[name] = memory
        for algorithm in chosen:
            if algorithm not in (*known, AUTO):
                raise BadInputError(
                    f"[engines] {name}: no algorithm {algorithm!r}; there are "
                    f"{', '.join((*known, AUTO))}",
                    str(spec.file),
                )
        algorithms[name] = list(chosen or known[:1])
    if memory is not None and not limited:
        raise memory_for_none(", ".join(algorithms))
    for variant in spec.variants:
        try:
            _check_documents(variant, spec)
            _check_queries(variant)
            if variant.rerank:
                _check_text(variant.rerank.corpus, "documents")
                _check_text(variant.rerank.topics, "queries")
                last = variant.rerank.options.computing.checkpoint
                _check_model(variant.rerank.model, last.revision)
        except SpladeBridgeError as error:
            _name(error, spec, variant)
    return Checked(read_qrels(spec.qrels, pipe=False), algorithms, limited)


def _check_documents(variant: Variant, spec: Spec) -> None:
    source = variant.documents
    if isinstance(source, Vectors):
        open_source(source.path, quantize=variant.quantize, memory=spec.index.memory)
    elif isinstance(source, Encoded):
        _check_text(source.corpus, "documents")
        _check_model(source.model, source.checkpoint.revision)
    else:
        _check_bm25(source)


def _check_queries(variant: Variant) -> None:
    source = variant.queries
    if isinstance(source, Vectors) and not is_there(source.path):
        raise BadInputError("no such file or folder", str(source.path))
    if isinstance(source, Vectors) and variant.query_quantize:
        read_queries(source.path, variant.query_quantize)  # integers take no scale
    if isinstance(source, Encoded):
        _check_text(source.corpus, "queries")
        _check_model(source.model, source.checkpoint.revision)


def _check_bm25(source: Bm25) -> None:
    _check_text(source.corpus, "documents")
    _check_text(source.topics, "queries")
    engine("lucene").check_installed()


def _check_text(corpus: str, role: Role) -> None:
    if next(iter(read_texts(corpus, role)), None) is None:
        raise BadInputError(f"holds no {role}", corpus)


def _check_model(model: str | ToTrain, revision: str | None) -> None:
    if isinstance(model, ToTrain):
        from splade_bridge.training.ready import check_ready
        from splade_bridge.training.recipe import read_recipe

        check_ready(read_recipe(model.recipe, model.overrides), Path("{work}"))
        return
    from splade_bridge.encoding.snapshot import model_place

    require("encode", "encoding")
    model_place(model, revision)


def _name(error: SpladeBridgeError, spec: Spec, variant: Variant) -> NoReturn:
    """Raise ``error`` again, with the variant that it is about."""
    error.args = (f"{spec.file}: variant {variant.name!r}: {error}",)
    raise error
