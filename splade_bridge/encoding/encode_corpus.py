"""A corpus into a vector store, as ``splade-bridge encode`` is told; the model is loaded last."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splade_bridge.data.choices import Side, check_choice
from splade_bridge.data.vector_set import MEMORY, VectorsInMemory
from splade_bridge.encoding.choices import Cluster, EncodeChoices, ModelChoices
from splade_bridge.encoding.shards import Shard
from splade_bridge.errors import BadInputError, UsageError, require
from splade_bridge.files.finished import differences
from splade_bridge.files.lines import STDIO
from splade_bridge.files.locks import scratch_folder
from splade_bridge.files.outputs import check_output, has_plan, manifest_file, plan_file
from splade_bridge.files.typed import Where, as_table, json_file
from splade_bridge.text.corpora import (
    Corpus,
    CorpusOptions,
    Role,
    Text,
    corpus_files,
    tell_splits,
)

if TYPE_CHECKING:
    from splade_bridge.data.manifest import Manifest
    from splade_bridge.data.vectors import SparseBatch
    from splade_bridge.encoding.encoder import EncodeStats
    from splade_bridge.encoding.runner import Runner
    from splade_bridge.encoding.worker import EncoderSpec


def model_of(
    side: Side,
    model: str | None = None,
    query_model: str | None = None,
    document_model: str | None = None,
) -> str:
    """The checkpoint that encodes ``side``: its own one, or the one of both sides.

    Raises:
        UsageError: there is none.
    """
    wanted = (query_model if side == "query" else document_model) or model
    if wanted is None:
        raise UsageError(f"no model: pass --model, or --{side}-model")
    return wanted


def role_of(side: Side) -> Role:
    """What the texts of ``side`` are."""
    return "queries" if side == "query" else "documents"


def encode_corpus(
    corpus: str | Iterable[Text],
    out: Path,
    model: str,
    choices: EncodeChoices = EncodeChoices(),
    *,
    shard: str | None = None,
    cluster: Cluster | None = None,
    cluster_address: str | None = None,
    workers: int | None = None,
    fields: CorpusOptions = CorpusOptions(),
    overwrite: bool = False,
    progress: bool = False,
) -> tuple[Manifest, EncodeStats]:
    """Encode ``corpus`` into a vector store at ``out``, or go on with one that was stopped.

    Args:
        corpus: what :func:`splade_bridge.text.corpora.read_texts` reads; or texts themselves.
        model: checkpoint, a folder or a hub name; see :func:`model_of`.
        shard: ``i/n``: every n-th part from part i on.
        cluster: encode on a Ray cluster, with ``cluster_address`` of its head and ``workers``.
        fields: of records, where they have not the usual names.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        The manifest of the store, and what was done by this call.

    Raises:
        BadInputError: a bad record, no texts, no such model, or a corpus that changed.
        UsageError: options that do not fit together, or ``out`` exists.
        MissingToolError: Ray or a GPU is asked for and not there.
        ExternalProgramError: ``out`` cannot be written, or a process died.
        Interrupted: by the user; finished parts stay.
    """
    check_choice("cluster", cluster or "ray", Cluster)
    if cluster is None and (cluster_address, workers) != (None, None):
        raise UsageError("--cluster-address and --workers are for --cluster ray")
    name = corpus if isinstance(corpus, str) else str(MEMORY)
    if cluster and (corpus is not name or Path(name) == STDIO):
        raise UsageError("--cluster ray reads the corpus in a process of its own: name a file")
    if cluster and choices.devices not in ("auto", "cpu", "cuda"):
        raise UsageError("--devices with --cluster ray is auto, cpu or cuda; see --workers")
    chosen = None if shard is None else Shard.parse(shard)
    # Before a model is loaded for nothing; a store of this corpus is gone on with, or is there.
    named = {"corpus": name, "side": choices.side, "part_rows": choices.part_rows,
             "long": choices.long, "shard": chosen and str(chosen)}  # fmt: skip
    if overwrite or not may_be_ours(out, named):
        check_output(out, overwrite=overwrite)
    role = role_of(choices.side)
    if role == "queries" and isinstance(corpus, str):
        tell_splits(name, fields)
    source = Corpus(name, role, fields) if isinstance(corpus, str) else corpus
    skip = fields.skip_others
    files = (
        corpus_files(name, role, skip_others=skip, split=fields.split)
        if isinstance(corpus, str)
        else []
    )

    require("encode", "encoding")
    from splade_bridge.encoding.progress import known_count, progress_bar
    from splade_bridge.encoding.runner import fill_store, not_empty

    spec = _spec(model, choices)
    # Before a model is loaded; a cluster reads the corpus anew.
    texts = not_empty(source if cluster else iter(source), name)
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(_runner(spec, cluster, cluster_address, workers))
        count = (
            known_count(corpus, role, skip_others=skip, split=fields.split)
            if isinstance(corpus, str)
            else None
        )
        bar = progress_bar(count, lambda: runner.stats, shown=None if progress else False)
        manifest = fill_store(
            runner,
            texts,
            out,
            corpus=name,
            files=files,
            shard=chosen,
            overwrite=overwrite,
            part_rows=choices.part_rows,
            progress=stack.enter_context(bar),
        )
        return manifest, runner.stats


def may_be_ours(out: Path, named: Mapping[str, Any]) -> bool:
    """Whether ``out`` has a plan like this; all of it is only known when the model is loaded.

    Args:
        named: what is known of the plan already.
    """
    if not has_plan(out):
        return False
    if not manifest_file(out).exists():
        return True
    with contextlib.suppress(BadInputError):
        where = Where(str(plan_file(out)))
        made = as_table(json_file(where), where)
        return not differences({k: made.get(k) for k in named}, named)
    return False


def encode_in_memory(
    texts: Iterable[Text],
    model: str,
    choices: EncodeChoices = EncodeChoices(),
    *,
    name: str = str(MEMORY),
) -> VectorsInMemory:
    """The vectors that :func:`encode_corpus` would write, in memory, by the first of ``devices``.

    Args:
        name: what the texts are called in messages; see :func:`encode_corpus` for the others.

    Raises:
        BadInputError: a bad record, no texts, or no such model.
        UsageError: options that do not fit together.
        MissingToolError: torch or a GPU is asked for and not there.
    """
    require("encode", "encoding")
    from splade_bridge.encoding.devices import parse_devices
    from splade_bridge.encoding.parts import CorpusWalk, PartNote
    from splade_bridge.encoding.runner import encode_parts, not_empty, report

    spec = _spec(model, choices)
    given = not_empty(iter(texts), name)  # before a model is loaded for nothing
    encoder = spec.on(parse_devices(choices.devices)[0]).load()
    batches: list[SparseBatch] = []
    truncated = 0

    def keep(number: int, batch: SparseBatch, note: PartNote) -> None:
        nonlocal truncated
        batches.append(batch)
        truncated += note.truncated

    encode_parts(encoder, CorpusWalk(given, choices.part_rows, {}, None, name), keep, None)
    encoding = replace(encoder.info(), truncated=truncated)
    found = VectorsInMemory(batches, encoder.encoder.loaded.vocabulary, encoding)
    report(found.manifest)
    return found


def _spec(model: str, choices: EncodeChoices) -> EncoderSpec:
    from splade_bridge.encoding.encoder import EncodeOptions
    from splade_bridge.encoding.passages import LongOptions
    from splade_bridge.encoding.worker import EncoderSpec

    options = EncodeOptions(
        choices.max_length, choices.pooling, choices.dtype, choices.batch_tokens, choices.devices,
        choices.threads, choices.checkpoint,
    )  # fmt: skip
    return EncoderSpec(model, choices.side, options, LongOptions(choices.long, choices.stride))


@contextlib.contextmanager
def _runner(
    spec: EncoderSpec, cluster: Cluster | None, address: str | None, workers: int | None
) -> Iterator[Runner]:
    """Who encodes: a cluster, a process for each of several devices, or this process."""
    from splade_bridge.encoding.devices import DeviceRunner, parse_devices
    from splade_bridge.encoding.ray_job import RayRunner
    from splade_bridge.encoding.runner import LocalRunner

    if cluster:
        with RayRunner(spec, address=address, workers=workers) as on_cluster:
            yield on_cluster
    elif len(names := parse_devices(spec.options.device)) > 1:
        with DeviceRunner(spec, names) as on_devices:
            yield on_devices
    else:
        yield LocalRunner(spec.on(names[0]).load())


@contextlib.contextmanager
def encoded(
    source: str,
    model: str,
    *,
    side: Side = "document",
    checkpoint: ModelChoices = ModelChoices(),
    near: Path,
    fields: CorpusOptions = CorpusOptions(),
    progress: bool = False,
) -> Iterator[Path]:
    """A vector store of the texts of ``source``, which is gone when the context ends.

    Args:
        source: what :func:`splade_bridge.text.corpora.read_texts` reads.
        model: checkpoint, a folder or a hub name.
        checkpoint: how it is read.
        near: folder that it lies in meanwhile; it is made where it is missing.
        fields: see :func:`encode_corpus`.
        progress: show a bar on stderr, if that is a terminal.

    Raises:
        BadInputError: the texts or the model cannot be read.
    """
    require("encode", "encoding")
    from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
    from splade_bridge.encoding.progress import progress_bar
    from splade_bridge.encoding.runner import encode_to_store
    from splade_bridge.text.corpora import read_texts

    with scratch_folder(near) as scratch:
        vectors = scratch / "vectors"
        texts = read_texts(source, role_of(side), fields)
        encoder = load_encoder(model, side, EncodeOptions(checkpoint=checkpoint))
        with progress_bar(shown=None if progress else False) as bar:
            encode_to_store(texts, encoder, vectors, corpus=source, progress=bar)
        yield vectors
