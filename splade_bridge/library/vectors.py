"""Making vectors and what is made of them: quantized, pruned, exported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack, cast

from splade_bridge.conversion.convert import convert as convert_path
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.export import ExportOptions
from splade_bridge.conversion.export import export as export_source
from splade_bridge.data.choices import Side, check_choice
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import DEFAULT_SCALE, Quantizer
from splade_bridge.data.store import VectorStore
from splade_bridge.data.vector_set import VectorSet, VectorsInMemory
from splade_bridge.encoding.choices import (
    DType,
    EncodeChoices,
    LongMode,
    Pooling,
)
from splade_bridge.encoding.encode_corpus import encode_corpus, encode_in_memory, role_of
from splade_bridge.errors import UsageError
from splade_bridge.files.checks import unchecked
from splade_bridge.files.outputs import manifest_file
from splade_bridge.formats.choices import ConvertFormat
from splade_bridge.formats.memory import (
    Impacts,
    are_weights,
    vector_records,
    weights_in_memory,
)
from splade_bridge.formats.queries import read_queries
from splade_bridge.library.given import (
    corpus_options,
    is_place,
    items_of,
    model_choices,
    output_path,
    place,
    quantize_options,
    size,
    source_opener,
    source_options,
)
from splade_bridge.library.keywords import (
    EncodingTexts,
    Place,
    Quantizing,
    Reading,
    ReadingImpacts,
    part,
    takes,
)
from splade_bridge.pruning.methods import policy
from splade_bridge.pruning.policy import Policy, PruneOptions
from splade_bridge.pruning.prune import prune as prune_path
from splade_bridge.pruning.prune import side_of
from splade_bridge.pruning.pruning import Pruning
from splade_bridge.pruning.source import PrunedSource, QuerySource
from splade_bridge.pruning.store import prune_store
from splade_bridge.text.corpora import (
    Corpus,
    Role,
    Text,
    texts_in_memory,
)


@takes(EncodingTexts)
def encode(
    texts: Any,
    *,
    model: Place,
    output: Place | None = None,
    side: str = "document",
    max_length: int = 256,
    pooling: str | None = None,
    dtype: str = "auto",
    batch_tokens: int | str = "auto",
    long: str = "truncate",
    stride: int | None = None,
    devices: str = "auto",
    threads: int | None = None,
    **reading: Unpack[EncodingTexts],
) -> VectorSet:
    """Turn text into sparse float vectors.

    Args:
        texts: a path or an ir_datasets id; an iterable of ``(id, text)``, of records or of strings
            (named ``"0"``, ``"1"`` ...); a mapping from id to text; a DataFrame with ``docno`` and
            ``text``, or ``qid`` and ``query``.
        model: checkpoint, a folder or a hub name.
        output: folder of a vector store to write; a call that was stopped goes on when it is made
            again with the same texts. None keeps the vectors in memory.
        side: ``document`` or ``query``.
        max_length: tokens of a text that are read.
        pooling: over positions, ``max``, ``sum`` or ``last``; None for what was saved with it.
        revision, prompt, prompt_name, query_mode, normalize, trust_remote_code: see
            :func:`open_index`.
        dtype: ``float32``, ``bfloat16``, ``float16``, on a CPU ``int8``; ``auto`` is bfloat16 on a
            GPU, float32 on a CPU.
        batch_tokens: tokens of a batch, or ``auto``.
        long: texts beyond ``max_length``: ``truncate``; ``max``, the maximum over windows;
            ``passages``, a row for each window, named id#0, id#1 and so on.
        stride: tokens from one window to the next; None for windows that do not overlap.
        devices: ``auto`` is all GPUs, or the CPU; a number of GPUs; ``cpu``; ``cuda:0,cuda:1``.
            Several need an ``output``; in memory the first one is used.
        threads: on a CPU; None leaves torch its own choice.
        part_rows: texts of a part of the store.
        id_field, text_field, title_field: of records, where they have not the usual names.
        skip_others: leave out files of a folder that hold no texts; else they are an error.
        split: of the queries of a BEIR folder those that ``qrels/SPLIT.tsv`` judges; None for all.
        overwrite: replace a vector store at ``output``.

    Returns:
        The vectors; iterating gives ``(id, {term: weight})``, ``to_pandas()`` a DataFrame. With
        ``output`` it is the :class:`VectorStore` there.

    Raises:
        BadInputError: a bad text (in memory named as ``document 17``), an id that comes twice, no
            texts, or no such model.
        UsageError: an option that cannot be meant, or ``output`` exists.
        MissingToolError: torch or a device that is asked for is missing.
        ExternalProgramError: ``output`` cannot be written.
    """
    if isinstance(batch_tokens, str) and batch_tokens != "auto":
        raise UsageError(f"batch_tokens is auto or a number of tokens, not {batch_tokens!r}")
    fields = corpus_options(reading)
    choices = EncodeChoices(
        side=cast(Side, side),
        max_length=max_length,
        pooling=cast("Pooling | None", pooling),
        checkpoint=model_choices(reading),
        dtype=cast(DType, dtype),
        batch_tokens=None if batch_tokens == "auto" else int(batch_tokens),
        long=cast(LongMode, long),
        stride=stride,
        devices=devices,
        threads=threads,
        part_rows=reading["part_rows"],
    )
    role = role_of(choices.side)
    stream: str | Iterable[Text] = (
        str(texts) if is_place(texts) else texts_in_memory(items_of(texts), role, fields)
    )
    if output is not None:
        out = output_path(output)
        encode_corpus(
            stream, out, str(model), choices, fields=fields, overwrite=reading["overwrite"]
        )
        return VectorStore(out)
    if isinstance(stream, str):
        return encode_in_memory(Corpus(stream, role, fields), str(model), choices, name=stream)
    return encode_in_memory(stream, str(model), choices)


def quantize(
    vectors: Any,
    *,
    scale: float | None = None,
    rounding: str | None = None,
    clip: int | None = None,
    no_check: bool = False,
) -> Impacts:
    """Float weights as integer impacts: rint(weight x scale), half to even.

    Args:
        vectors: what :func:`index` takes as its source. Integers are impacts already, and can
            only be clipped.
        scale: None is 100; files with float weights must be told.
        rounding: ``nearest`` (None) or ``down``.
        clip: cut impacts to this.
        no_check: see :func:`index`.

    Returns:
        Impacts; iterating gives ``(id, {term: impact})``, as often as is wanted. What rounds to 0
        is dropped; a row that becomes empty stays.

    Raises:
        BadInputError: while they are read: a broken source; of one in memory the document is
            named by its place.
        UsageError: an unknown rounding; a scale or a rounding for integers.
    """
    options = quantize_options(scale, rounding, clip)
    if options is not None:
        Quantizer(options)  # refuses what cannot be a scale or a clip
    return Impacts(source_opener(vectors, part(Reading, {"no_check": no_check}), quantize=options))


@takes(ReadingImpacts)
def export(
    source: Any,
    output: Place,
    *,
    format: str | Sequence[str] = "jsonvector",
    docs_per_file: int = 100_000,
    gzip: bool = False,
    with_contents: Any = None,
    overwrite: bool = False,
    **reading: Unpack[ReadingImpacts],
) -> Manifest:
    """Write vectors as integer impacts for other tools.

    Args:
        source: see :func:`index`. An iterator that more than one format is written of is held in
            memory.
        output: folder of the export.
        format: one or more of ``jsonvector`` (Anserini), ``ciff``, ``forward`` (for two-step
            search); of queries ``topics`` (TSV of repeated tokens), ``topics-jsonl``,
            ``topics-pisa``.
        from_: ``vectors``, ``jsonvector``, ``ciff`` or ``forward``, where a path is unclear.
        scale, rounding, clip, skip_others, ciff_docids, vocabulary, field: see :func:`index`.
        docs_per_file: documents of a jsonvector part.
        gzip: compress what is written.
        with_contents: the texts that were encoded (as :func:`encode` takes them), for jsonvector's
            field ``contents``.
        memory: budget for sorting, in bytes or as ``"2G"``.
        no_check: see :func:`index`.
        overwrite: replace an artefact of ours at ``output``.

    Returns:
        The manifest: counts, scale, what was dropped or clipped, and the files.

    Raises:
        BadInputError: a broken or empty source, or contents that are not its.
        UsageError: an unknown format, or ``output`` exists.
        ExternalProgramError: the disk is full, or the source changed between two passes.
    """
    out = output_path(output)
    formats = (format,) if isinstance(format, str) else tuple(format)
    budget = size(reading["memory"])
    quantize = quantize_options(**part(Quantizing, reading))
    once = len(set(formats)) == 1
    opened = source_opener(source, reading, quantize=quantize, once=once)
    if with_contents is None or is_place(with_contents):
        texts = with_contents and Corpus(str(with_contents))
    else:
        texts = list(texts_in_memory(items_of(with_contents)))

    def contents() -> Iterator[tuple[str, str]]:
        found: Iterator[Text] = iter(texts)
        return ((text.id, text.text) for text in found)

    return export_source(
        opened,
        out,
        ExportOptions(formats, docs_per_file, gzip, budget),
        contents=contents if texts is not None else None,
        overwrite=overwrite,
    )


@takes(ReadingImpacts)
def convert(
    source: Place,
    output: Place,
    *,
    to: str,
    docs_per_file: int = 100_000,
    gzip: bool = False,
    overwrite: bool = False,
    **reading: Unpack[ReadingImpacts],
) -> Manifest:
    """Turn vectors of any kind into files of another kind, and check that nothing was lost.

    Args:
        source: path of a vector store, files, an export, or an index of any engine; an address.
        output: folder to be made.
        to: ``vectors``, ``jsonvector``, ``ciff``, ``forward``, ``pisa-canonical``, ``npz``,
            ``seismic`` or ``hf``; see docs/formats.md.
        from_: one of the same, where a path is unclear.
        ciff_docids: ``absolute`` for a CIFF whose postings hold docids instead of gaps.
        vocabulary: what term ids of a matrix or table stand for: a file, or a checkpoint's folder.
        scale, rounding, clip: make impacts of weights, which else stay weights; see :func:`index`.
        skip_others, field: see :func:`index`.
        docs_per_file: documents of a jsonvector part.
        gzip: compress what is written.
        memory: budget for sorting, in bytes or as ``"2G"``.
        no_check: see :func:`index`.
        overwrite: replace an artefact of ours at ``output``.

    Returns:
        The manifest; its ``content`` is the hash of what was read and written.

    Raises:
        BadInputError: a broken or empty source, or one that the format cannot hold.
        UsageError: an unknown format, ``output`` exists, or weights for a format of integers.
        ExternalProgramError: the disk is full, or what was written is not what was read.
    """
    check_choice("to", to, ConvertFormat)
    with unchecked(reading["no_check"]):
        return convert_path(
            place(source),
            output_path(output),
            cast(Any, to),
            ExportOptions((to,), docs_per_file, gzip, size(reading["memory"])),
            read_as=source_options(reading),
            quantize=quantize_options(**part(Quantizing, reading)),
            overwrite=overwrite,
        ).manifest


@takes(Reading)
def prune(
    source: Any,
    output: Place | None = None,
    *,
    method: str | Sequence[str],
    value: float | str | Sequence[float | str],
    side: str | None = None,
    min_terms: int = 1,
    scale: float | None = None,
    gzip: bool = False,
    overwrite: bool = False,
    **reading: Unpack[Reading],
) -> VectorSet | Impacts:
    """Drop postings that matter little: static pruning (arXiv 2304.12702).

    Weights are pruned before they are scaled, impacts as they are; ``value`` is in the same unit.

    Args:
        source: see :func:`index`.
        output: folder of what is written: weights as a vector store, impacts as an export in the
            format of ``source``. None keeps the pruned vectors in memory.
        method: ``top-k``, ``threshold``, ``max-share``, ``mass-share``, ``term-quantile``,
            ``list-cap``, ``postings``, ``bytes`` or ``drop-terms``; several are applied in order.
        value: of the method, or of each; see docs/pruning.md.
        side: ``document`` or ``query``, where the source does not say it itself.
        min_terms: terms that every row keeps, its heaviest.
        from_: ``vectors``, ``jsonvector`` or ``ciff``, where a path is unclear.
        scale: for files with float weights.
        skip_others, ciff_docids, vocabulary, field: see :func:`index`.
        gzip: compress what is written.
        memory: budget for sorting, in bytes or as ``"2G"``.
        no_check: see :func:`index`.
        overwrite: replace an artefact of ours at ``output``.

    Returns:
        Weights as :func:`encode` gives them, or impacts as :func:`quantize` does; with ``output``
        those that are there. The manifest of weights ends its ``pruning`` with an account of each
        method.

    Raises:
        BadInputError: a broken or empty source.
        UsageError: no such method, a value that cannot be meant, an ``output`` that exists.
        MismatchError: ``side`` is not the source's.
        ExternalProgramError: the source changed between two passes, or the disk is full.
    """
    methods = [method] if isinstance(method, str) else list(method)
    values: list[float | str]
    values = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
    if len(methods) != len(values):
        raise UsageError(f"method and value go in pairs, not {len(methods)} and {len(values)}")
    policies = [policy(*pair) for pair in zip(methods, values, strict=True)]
    if side is not None:
        check_choice("side", side, Side)
    wanted = cast("Side | None", side)
    quantizing = quantize_options(scale)
    counted_with = DEFAULT_SCALE if scale is None else float(scale)
    options = PruneOptions(min_terms, size(reading["memory"]), scale=counted_with)
    out = output_path(output) if output is not None else None
    if is_place(source):
        path = place(source)
        with unchecked(reading["no_check"]):
            if out is not None:
                prune_path(
                    path, out, policies, options, side=wanted,
                    quantize=quantizing, gzip=gzip, overwrite=overwrite,
                    read_as=source_options(reading),
                )  # fmt: skip
                return _pruned_at(out)
            if isinstance(path, Path):
                known = Manifest.load(path) if manifest_file(path).is_file() else None
                wanted = side_of(path, known, wanted)
                if known and known.kind == "vectors":
                    source = VectorStore(path)
                elif wanted == "query":
                    asked = read_queries(path, quantizing)
                    source = Impacts(lambda: QuerySource(asked))
    elif not isinstance(source, VectorSet | Impacts):
        role: Role = "queries" if wanted == "query" else "documents"
        items = list(items_of(source))
        floats, records = are_weights(vector_records(items, role))
        source = weights_in_memory(records) if floats else items
    if isinstance(source, VectorSet):
        if out is None:
            return _pruned(source, policies, options, wanted)
        prune_store(source, out, policies, options, side=wanted, overwrite=overwrite)
        return VectorStore(out)
    opened = source_opener(
        source,
        reading,
        quantize=None if isinstance(source, Impacts) else quantizing,
        role="queries" if wanted == "query" else "documents",
    )
    pruned = PrunedSource(opened, policies, min_terms=min_terms, side=wanted, memory=options.memory)
    if out is None:
        return Impacts(pruned.again)
    written = ExportOptions(("jsonvector",), compress=gzip, memory=options.memory)
    export_source(pruned.again, out, written, overwrite=overwrite)
    return _pruned_at(out)


def _pruned(
    vectors: VectorSet, policies: Sequence[Policy], options: PruneOptions, side: Side | None
) -> VectorsInMemory:
    pruning = Pruning(lambda: (vectors.batches(), vectors.vocabulary), policies, "weight", options)
    steps = pruning.steps()
    batches = list(pruning.run(vectors.batches(), vectors.vocabulary, steps))
    known = vectors.manifest
    side = side or (known.encoding.side if known.encoding else "document")
    history = [*known.pruning, *(step.entry(side, "weight") for step in steps)]
    return VectorsInMemory(batches, vectors.vocabulary, known.encoding, pruning=history)


def _pruned_at(out: Path) -> VectorSet | Impacts:
    """What stands at ``out`` now."""
    manifest = Manifest.load(out)
    if manifest.kind == "vectors":
        return VectorStore(out)
    if "topics" in manifest.option("formats", list[str], out, []):
        topics = next(out.glob("topics.tsv*"))
        return Impacts(lambda: QuerySource(read_queries(topics)))
    return Impacts(lambda: open_source(out))
