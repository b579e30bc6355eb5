"""Reading SPEC.toml, with every sweep written out; docs/compare.md describes the keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from splade_bridge.comparison.addressed import engine_address
from splade_bridge.comparison.read_checkpoint import (
    CODE,
    MODE,
    SIDES,
    Reading,
    read_checkpoint,
    read_pair,
)
from splade_bridge.comparison.read_checkpoint import KEYS as CHECKPOINT_KEYS
from splade_bridge.comparison.spec import (
    Bm25,
    Encoded,
    FusedVariants,
    Rerank,
    Source,
    Spec,
    TimingOptions,
    ToTrain,
    TwoStep,
    Variant,
    Vectors,
)
from splade_bridge.comparison.table import Table
from splade_bridge.data.choices import Rounding
from splade_bridge.data.quantize import QuantizeOptions, Quantizer
from splade_bridge.encoding.choices import PairChoices, ScorerKind, ScorerOptions
from splade_bridge.encoding.snapshot import is_graph
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.registry import ENGINES, NAMES, REMOTE_OPTIONS
from splade_bridge.engines.registry import key as key_of
from splade_bridge.errors import SpladeBridgeError, UsageError
from splade_bridge.evaluation.evaluate import DEFAULT_MEASURES
from splade_bridge.evaluation.measures import parse_measures
from splade_bridge.evaluation.significance import SignificanceOptions
from splade_bridge.files.inputs import is_there
from splade_bridge.files.sizes import size_in_bytes
from splade_bridge.files.typed import Where, toml_file
from splade_bridge.pruning.methods import METHODS, policy
from splade_bridge.pruning.policy import Policy
from splade_bridge.retrieval.choices import Fusion, Normalization
from splade_bridge.retrieval.fusion import RANK_CONSTANT, FusionOptions
from splade_bridge.retrieval.rerank import RerankOptions
from splade_bridge.retrieval.two_step import DEFAULT_CANDIDATES, TwoStepOptions
from splade_bridge.text.ir_dataset import may_be_dataset
from splade_bridge.text.splits import TEST, split_file

QUANTIZE_KEYS = ("scale", "rounding", "clip")
DATA = "{data}"
"""In ``set``, of a variant or a sweep: the folder that paths start from."""


@dataclass(frozen=True)
class _Defaults:
    """What variants take from ``[data]``."""

    folder: Path
    root: Path
    trust_remote_code: bool
    documents: str | None = None
    queries: str | None = None
    corpus: str | None = None
    topics: str | None = None


def load_spec(file: Path, data: Path | None = None, *, trust_remote_code: bool = False) -> Spec:
    """Read a specification; nothing that it names is opened but files of terms to drop.

    Args:
        data: replaces ``data.root``, the folder that paths in ``[data]`` and variants start from.
        trust_remote_code: run code that comes with a checkpoint. No specification says so: it may
            be a stranger's.

    Raises:
        BadInputError: not TOML, an unknown key, a wrong type or a value that cannot be meant; the
            message names file, table and key.
    """
    return read_spec(toml_file(file), file, data, trust_remote_code=trust_remote_code)


def read_spec(
    content: object, file: Path, data: Path | None = None, *, trust_remote_code: bool = False
) -> Spec:
    """The same of a specification that is read.

    Args:
        content: a table, as ``tomllib`` reads it.
        file: for messages, and its folder.
    """
    top = Table(content, file)
    given = top.table("data", "[data]")
    root = file.parent / given.take("root", str, ".") if data is None else data
    if data is not None:
        given.take("root", str, None)
    defaults = _Defaults(
        file.parent,
        root,
        trust_remote_code,
        *(given.take(key, str, None) for key in ("documents", "queries", "corpus", "topics")),
    )
    qrels = _qrels(root, given.take("qrels", str), given.take("split", str, None))
    collection = given.take("collection", str, None)
    measures = _measures(given)
    remove_query = given.take("remove_query", bool, False)
    depth = _positive(given, "depth", 1000)
    given.finish()
    variants = [_variant(table, defaults) for table in top.tables("variant")]
    if not variants:
        top.fail("at least one [[variant]] is needed")
    baseline = top.take("baseline", str, variants[0].name)
    for table in top.tables("sweep"):
        variants += _sweep(table, defaults, variants, baseline)
    fusions = [_fusion(table, variants, depth) for table in top.tables("fusion")]
    names = [v.name for v in variants] + [f.name for f in fusions]
    for name in names:
        if names.count(name) > 1:
            top.fail(f"two variants are called {name!r}: names must differ", "variant")
    if baseline not in (known := [v.name for v in variants]):
        top.fail(f"no variant is called {baseline!r}; there are {', '.join(known)}", "baseline")
    bench = _bench(top.table("bench", "[bench]"))
    deepest = max(depth, *bench.ks)
    for v in variants:
        if v.two_step and v.two_step.search.candidates < deepest:
            top.fail(
                f"{v.two_step.search.candidates} candidates cannot give {deepest:,} documents, "
                "which [data] depth or [bench] ks ask for",
                f"variant {v.name!r} two_step candidates",
            )
    index, engine_options = _index(top.table("index", "[index]"))
    spec = Spec(
        file=file,
        title=top.take("title", str, file.stem),
        collection=collection,
        qrels=qrels,
        measures=measures,
        remove_query=remove_query,
        depth=depth,
        variants=tuple(variants),
        baseline=baseline,
        algorithms=_engines(top.table("engines", "[engines]")),
        bench=bench,
        index=index,
        engine_options=engine_options,
        significance=_significance(top.table("significance", "[significance]")),
        fusions=tuple(fusions),
        trust_remote_code=trust_remote_code,
    )
    top.finish()
    return spec


def _variant(table: Table, defaults: _Defaults) -> Variant:
    name = table.take("name", str)
    table.place = f"variant {name!r}"
    if not name.strip():
        table.fail("must not be empty", "name")
    documents, queries = _sources(table, defaults)
    variant = Variant(
        name=name,
        documents=documents,
        queries=queries,
        group=table.take("group", str, name),
        label=table.take("label", str, name),
        quantize=_quantize(table, ""),
        query_quantize=_quantize(table, "query_"),
        documents_pruned=_policies(table, "prune_documents", defaults),
        queries_pruned=_policies(table, "prune_queries", defaults),
        min_terms=_positive(table, "min_terms", 1, least=0),
        two_step=_two_step(table, defaults),
        rerank=_rerank(table, defaults),
        published=table.take("published", str, None) or _model_of(documents),
    )
    table.finish()
    asked = variant.query_quantize or QuantizeOptions()
    if isinstance(queries, Bm25) and asked.scale is None:
        # Weights of queries are counts: they are integers as they stand.
        variant = replace(variant, query_quantize=replace(asked, scale=1.0))
    return variant


def _sources(table: Table, defaults: _Defaults) -> tuple[Source, Source]:
    model = _given_model(table, defaults)
    if table.has("bm25"):
        others = ("documents", "queries", "model", "recipe", "document_model", "query_model")
        for other in (*others, *CHECKPOINT_KEYS):
            if table.has(other):
                table.fail("cannot be together with bm25", other)
        options = table.table("bm25")
        found = Bm25(
            _text(table, "corpus", defaults.corpus, defaults),
            _text(table, "topics", defaults.topics, defaults),
            options.take("k1", float, 0.9),
            options.take("b", float, 0.4),
        )
        options.finish()
        if not (found.k1 >= 0 and 0 <= found.b <= 1):
            table.fail(f"k1 must be 0 or more and b from 0 to 1, not {found.k1}, {found.b}", "bm25")
        return found, found
    sources: list[Source] = []
    for side, text in (("document", "corpus"), ("query", "topics")):
        key = "documents" if side == "document" else "queries"
        named_model = table.take(f"{side}_model", str, None)
        path = table.take(key, str, None)
        if path is not None and named_model is not None:
            table.fail(f"cannot be together with {key}", f"{side}_model")
        own = None if named_model is None else model_name(named_model, defaults.folder)
        wanted = own or (model if path is None else None)
        default: str | None = getattr(defaults, key)
        if wanted is not None:
            known: str | None = getattr(defaults, text)
            corpus = _text(table, text, known, defaults)
            sources.append(Encoded(corpus, wanted))
        elif path is not None or default is not None:
            sources.append(Vectors(defaults.root / (path or default or "")))
        else:
            table.fail(f"neither {key} nor a model is given, here or in [data]")
    encoded = [source.model for source in sources if isinstance(source, Encoded)]
    if model is not None and model not in encoded:
        key = "recipe" if isinstance(model, ToTrain) else "model"
        table.fail("encodes neither side: both have vectors or a model of their own", key)
    texts = [s for s, source in zip(SIDES, sources, strict=True) if isinstance(source, Encoded)]
    readings = read_checkpoint(table, texts, trust_remote_code=defaults.trust_remote_code)
    documents, queries = (
        _as_read(table, source, readings.get(side))
        for side, source in zip(SIDES, sources, strict=True)
    )
    return documents, queries


def _as_read(table: Table, source: Source, reading: Reading | None) -> Source:
    """The source with what was said of its checkpoint."""
    if reading is None or not isinstance(source, Encoded):
        return source
    if isinstance(source.model, ToTrain) and reading.checkpoint.revision is not None:
        table.fail("is of a hub name; a recipe's base has its key model.revision", "revision")
    return replace(source, **vars(reading))


def _qrels(root: Path, name: str, split: str | None) -> Path:
    """A file of judgements; that of a split, ``test`` if none is named, for a BEIR folder.

    What is not there may be a data set of ir_datasets.
    """
    path = root / name
    there = is_there(path)
    if there and path.is_dir():
        return split_file(path, split or TEST)
    if split is not None:
        raise UsageError(f"{path}: split is for a BEIR folder, and this is none")
    return path if there or not may_be_dataset(name) else Path(name)


def _text(table: Table, key: str, value: str | None, defaults: _Defaults) -> str:
    if value is None:
        table.fail(f"a model, bm25 or rerank needs text: give {key} in [data]")
    path = defaults.root / value
    return str(path) if is_there(path) else value  # else it may be a data set of ir_datasets


def _given_model(table: Table, defaults: _Defaults) -> str | ToTrain | None:
    """The model of both sides, if there is one."""
    name = table.take("model", str, None)
    recipe, overrides = table.take("recipe", str, None), table.take_list("set", str, ())
    if recipe is None:
        if overrides:
            table.fail("needs a recipe, whose keys it sets", "set")
        return None if name is None else model_name(name, defaults.folder)
    if name is not None:
        table.fail("cannot be together with recipe", "model")
    file = defaults.folder / recipe
    placed = tuple(_placed(override, defaults) for override in overrides)
    return ToTrain(str(file) if is_there(file) and file.is_file() else recipe, placed)


def _placed(override: str, defaults: _Defaults) -> str:
    return override.replace(DATA, str(defaults.root))


def model_name(name: str, folder: Path) -> str:
    """The model's path where it lies below ``folder``, else the name as it is."""
    place = folder / name
    return str(place) if is_there(place) and (place.is_dir() or is_graph(place)) else name


def _model_of(source: Source) -> str | None:
    return source.model if isinstance(source, Encoded) and isinstance(source.model, str) else None


def _quantize(table: Table, prefix: str) -> QuantizeOptions | None:
    scale = table.take(f"{prefix}scale", float, None)
    rounding = table.take(f"{prefix}rounding", str, None)
    clip = table.take(f"{prefix}clip", int, None)
    if (scale, rounding, clip) == (None, None, None):
        return None
    if rounding not in (None, "nearest", "down"):
        table.fail(f"is nearest or down, not {rounding!r}", f"{prefix}rounding")
    options = QuantizeOptions(scale, cast("Rounding | None", rounding), clip)
    try:
        Quantizer(options)
    except SpladeBridgeError as error:
        table.wrong(error)
    return options


def _policies(table: Table, key: str, defaults: _Defaults) -> tuple[Policy, ...]:
    found = []
    for step in table.tables(key):
        method, value = step.take("method", str), step.take_any("value")
        step.finish()
        found.append(_policy(step, method, value, defaults))
    return tuple(found)


def _policy(table: Table, method: str, value: Any, defaults: _Defaults) -> Policy:
    if method not in METHODS:
        table.fail(f"is one of {', '.join(METHODS)}, not {method!r}", "method")
    if value is None:
        table.fail("is missing", "value")
    if method == "drop-terms" and isinstance(value, str) and not value.startswith("@"):
        value = str(defaults.folder / value)
    try:
        return policy(method, value)
    except SpladeBridgeError as error:
        table.wrong(error, "value")


def _two_step(table: Table, defaults: _Defaults) -> TwoStep | None:
    if not table.has("two_step"):
        return None
    inside = table.table("two_step")
    documents = _policies(inside, "prune_documents", defaults)
    terms = _positive(inside, "query_terms", 0, least=0) or None
    found = TwoStep(
        documents,
        TwoStepOptions(_positive(inside, "candidates", DEFAULT_CANDIDATES), terms),
    )
    inside.finish()
    if not documents and terms is None:
        inside.fail("needs prune_documents or query_terms, or there is no first step")
    return found


def _rerank(table: Table, defaults: _Defaults) -> Rerank | None:
    if not table.has("rerank"):
        return None
    inside = table.table("rerank")
    usual = RerankOptions()
    scorer = inside.take("scorer", str, usual.scorer)
    if scorer not in get_args(ScorerKind):
        inside.fail(f"is one of {', '.join(get_args(ScorerKind))}, not {scorer!r}", "scorer")
    longest = _positive(inside, "max_length", 0, least=0) or None
    checkpoint = _of_scorer(inside, scorer, trust_remote_code=defaults.trust_remote_code)
    found = Rerank(
        model_name(inside.take("model", str), defaults.folder),
        _text(table, "corpus", defaults.corpus, defaults),
        _text(table, "topics", defaults.topics, defaults),
        RerankOptions(
            depth=_positive(inside, "depth", usual.depth),
            scorer=cast("ScorerKind", scorer),
            computing=ScorerOptions(max_length=longest, checkpoint=checkpoint),
        ),
    )
    inside.finish()
    return found


def _of_scorer(inside: Table, scorer: str, *, trust_remote_code: bool) -> PairChoices:
    found = read_pair(inside, trust_remote_code=trust_remote_code)
    for field in fields(found):
        if field.name in ("revision", CODE) or not inside.has(field.name):
            continue
        takes = ("sparse",) if field.name == MODE else ("dense", "sparse")
        if scorer not in takes:
            inside.fail(f"has no effect without scorer = {' or '.join(takes)}", field.name)
    return found


def _sweep(
    table: Table, defaults: _Defaults, variants: list[Variant], baseline: str
) -> Iterator[Variant]:
    name = table.take("of", str, baseline)
    start = next((v for v in variants if v.name == name), None)
    if start is None:
        table.fail(f"no variant is called {name!r}", "of")
    method, key = table.take("method", str, None), table.take("key", str, None)
    setting = table.take("set", str, None)
    given = [what for what in (method, key, setting) if what is not None]
    if len(given) != 1:
        table.fail(
            "needs one of method (a way to prune), key (scale, rounding, clip) and set (a key of "
            "a recipe)"
        )
    if setting is not None and table.has("side"):
        table.fail("cannot be together with set: a recipe trains for both sides", "side")
    what = given[0]
    side = table.take("side", str, "document")
    if side not in ("document", "query"):
        table.fail(f"is document or query, not {side!r}", "side")
    pattern = table.take("name", str, f"{what} {{value}}" + " (queries)" * (side == "query"))
    group = table.take("group", str, what + " (queries)" * (side == "query"))
    min_terms = _positive(table, "min_terms", start.min_terms, least=0)
    values = table.take_any("values")
    table.finish()
    if not isinstance(values, list) or not values:
        table.fail(f"must be a list of one or more, not {values!r}", "values")
    if "{value}" not in pattern and len(values) > 1:
        table.fail("must hold {value}, or all variants would be called the same", "name")
    for value in values:
        label = f"{value:g}" if isinstance(value, float) else str(value)
        made = replace(
            start,
            name=pattern.replace("{value}", label),
            group=group,
            label=label,
            min_terms=min_terms,
            published=None,
        )
        if setting is not None:
            text = str(value).lower() if isinstance(value, bool) else value
            yield _trained_with(made, table, _placed(f"{setting}={text}", defaults))
        else:
            yield _swept(made, table, method, key, value, side, defaults)


def _fusion(table: Table, variants: list[Variant], depth: int) -> FusedVariants:
    name = table.take("name", str)
    table.place = f"fusion {name!r}"
    if not name.strip():
        table.fail("must not be empty", "name")
    of = table.take_list("of", str)
    known = [v.name for v in variants]
    for part in of:
        if part not in known:
            table.fail(f"no variant is called {part!r}; there are {', '.join(known)}", "of")
    if len(of) < 2:
        table.fail("needs two variants or more", "of")
    if last := [v.name for v in variants if v.name in of and v.rerank]:
        table.fail(f"{last[0]!r} is reranked, and fusing comes before that", "of")
    method = table.take("method", str, "rrf")
    for other, needed in (("normalization", "combsum or combmnz"), ("rank_constant", "rrf")):
        if table.has(other) and (method == "rrf") != (needed == "rrf"):
            table.fail(f'needs method = "{needed}"'.replace(" or ", '" or "'), other)
    if method not in get_args(Fusion):
        table.fail(f"is one of {', '.join(get_args(Fusion))}, not {method!r}", "method")
    normalization = table.take("normalization", str, "min-max")
    if normalization not in get_args(Normalization):
        allowed = ", ".join(get_args(Normalization))
        table.fail(f"is one of {allowed}, not {normalization!r}", "normalization")
    weights = tuple(map(float, _weights(table, len(of))))
    constant = _positive(table, "rank_constant", RANK_CONSTANT, least=0)
    deep = _positive(table, "depth", depth)
    if deep > depth:
        table.fail(f"{deep:,} is more than [data] depth = {depth:,}, which runs hold", "depth")
    group, label = table.take("group", str, name), table.take("label", str, name)
    table.finish()
    try:
        options = FusionOptions(
            cast("Fusion", method), cast("Normalization", normalization), weights, constant, deep
        )
    except SpladeBridgeError as error:
        table.wrong(error)
    return FusedVariants(name, tuple(of), options, group, label)


def _weights(table: Table, parts: int) -> list[float]:
    """One a part, or none."""
    found = table.take_any("weights")
    if found is None:
        return []
    right = isinstance(found, list) and len(found) == parts
    if not right or not all(type(w) in (int, float) and w > 0 for w in found):
        table.fail(f"must be {parts} numbers above 0, one for each of `of`", "weights")
    return list(found)


def _trained_with(made: Variant, table: Table, override: str) -> Variant:
    """The variant with its recipe's models trained with one more override."""

    def changed(source: Source) -> Source:
        if not isinstance(source, Encoded) or not isinstance(source.model, ToTrain):
            return source
        model = source.model
        return replace(source, model=replace(model, overrides=(*model.overrides, override)))

    sources = made.documents, made.queries
    documents, queries = map(changed, sources)
    if (documents, queries) == sources:
        table.fail(f"{made.name!r} is not made from a variant with a recipe", "of")
    return replace(made, documents=documents, queries=queries)


def _swept(
    made: Variant, table: Table, method: str | None, key: str | None, value: Any, side: str,
    defaults: _Defaults,
) -> Variant:  # fmt: skip
    if method is not None:
        step = (_policy(table, method, value, defaults),)
        if side == "document":
            return replace(made, documents_pruned=made.documents_pruned + step)
        return replace(made, queries_pruned=made.queries_pruned + step)
    if key not in QUANTIZE_KEYS:
        table.fail(f"is one of {', '.join(QUANTIZE_KEYS)}, not {key!r}", "key")
    current = made.quantize if side == "document" else made.query_quantize
    current = current or QuantizeOptions()
    merged = {k: v for k in QUANTIZE_KEYS if (v := getattr(current, k)) is not None} | {key: value}
    options = _quantize(_Values(table, merged), "")
    if side == "document":
        return replace(made, quantize=options)
    return replace(made, query_quantize=options)


class _Values(Table):
    """Values of a sweep as a table, so that they are checked as in a variant."""

    def __init__(self, table: Table, content: dict[str, Any]) -> None:
        super().__init__(content, table._file, table.place)

    def where(self, key: str | None = None) -> Where:
        return super().where("values")


def _engines(table: Table) -> dict[str, tuple[str, ...]]:
    found = {}
    for name in table.keys():  # noqa: SIM118 - a Table is no mapping
        try:
            known = name in NAMES or engine_address(name) is not None
        except UsageError as error:
            table.wrong(error)
        if not known:
            table.fail(f"no engine {name!r}: there are {', '.join(NAMES)}, and addresses")
        chosen = table.take_any(name)
        found[name] = () if chosen == [] else tuple(table.take_list(name, str))
    if not found:
        table.fail('is missing or empty: name engines, as pisa = ["maxscore"] or exact = []')
    return found


def _bench(table: Table) -> TimingOptions:
    usual = TimingOptions()
    sample = table.take_any("queries")
    options = TimingOptions(
        tuple(sorted(table.take_list("ks", int, usual.ks))),
        _positive(table, "repeat", usual.repeat),
        None if sample == "all" else _positive(table, "queries", usual.queries or 1),
        table.take("seed", int, usual.seed),
    )
    table.finish()
    if options.ks[0] < 1:
        table.fail(f"must be 1 or more, not {options.ks[0]}", "ks")
    return options


def _index(table: Table) -> tuple[BuildOptions, dict[str, Any]]:
    usual = BuildOptions()
    options = BuildOptions(
        threads=_positive(table, "threads", usual.threads),
        memory=_memory(table, usual.memory),
    )
    own = {
        name: entry.options(**_own_options(table, name, entry.options))
        for name, entry in ENGINES.items()
        if entry.options
    }
    own |= {s: kind(**_own_options(table, s, kind)) for s, kind in REMOTE_OPTIONS.items()}
    table.finish()
    return options, own


def _memory(table: Table, usual: int) -> int:
    """Bytes, as a number or as ``--memory`` takes them."""
    if not isinstance(table.take_any("memory"), str):
        return _positive(table, "memory", usual)
    try:
        return size_in_bytes(table.take("memory", str), "")
    except UsageError as error:
        table.wrong(error, "memory")


def _own_options(table: Table, name: str, options: type[Any]) -> dict[str, Any]:
    """What the table says of one engine's own options, as ``pisa_block_size`` of ``block_size``."""
    hints = get_type_hints(options)
    found = {}
    for option in fields(options):
        key = key_of(name, option)
        kinds = [k for k in get_args(hints[option.name]) if k is not type(None)]
        kind = hints[option.name] if get_origin(hints[option.name]) is Literal else None
        kind = kind or (kinds[0] if kinds else hints[option.name])
        choices = get_args(kind)
        value = table.take(key, str if choices or kind is Path else kind, None)
        if choices and value is not None and value not in choices:
            table.fail(f"is {value!r}; it can be {', '.join(choices)}", key)
        if value is not None:
            found[option.name] = Path(value) if kind is Path else value
    return found


def _significance(table: Table) -> SignificanceOptions:
    usual = SignificanceOptions()
    options = SignificanceOptions(
        _positive(table, "resamples", usual.resamples),
        table.take("seed", int, usual.seed),
        table.take("confidence", float, usual.confidence),
    )
    table.finish()
    if not 0 < options.confidence < 1:
        table.fail(f"must lie between 0 and 1, not {options.confidence}", "confidence")
    return options


def _measures(given: Table) -> tuple[str, ...]:
    """Their names, one by one."""
    asked = given.take_list("measures", str, DEFAULT_MEASURES)
    try:
        return tuple(parse_measures(asked))
    except UsageError as error:
        given.wrong(error, "measures")


def _positive(table: Table, key: str, default: int, least: int = 1) -> int:
    value = table.take(key, int, default)
    if value < least:
        table.fail(f"must be {least} or more, not {value}", key)
    return value
