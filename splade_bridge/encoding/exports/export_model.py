"""A model's sides, each as a file for another runtime, compared with ``encode`` before it is there.

Where both sides are one network and are read alike, one export is of both and lies in the output
itself; else ``document`` and ``query`` are folders in it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import transformers
from torch import Tensor

from splade_bridge import __version__
from splade_bridge.data.choices import Side, check_choice
from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import EncodingInfo, Manifest, VocabularyInfo
from splade_bridge.encoding.choices import ExportTarget, Pooling
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.exports.onnx_file import FILE, write_graph
from splade_bridge.encoding.exports.term_weights import TermWeights
from splade_bridge.encoding.masked_lm import load_masked_lm
from splade_bridge.encoding.onnx_graph import Graph
from splade_bridge.encoding.onnx_side import VOCABULARY, find_exported
from splade_bridge.encoding.settings import SideSettings, read_settings
from splade_bridge.encoding.side import LoadedSide
from splade_bridge.encoding.snapshot import find_snapshot
from splade_bridge.encoding.sparse_rows import SparseRows
from splade_bridge.encoding.tokens import load_tokenizer
from splade_bridge.errors import BadInputError, CheckFailedError, require
from splade_bridge.files.finished import check_same, fingerprints, tell
from splade_bridge.files.outputs import manifest_file
from splade_bridge.files.writing import staged_folder

log = logging.getLogger(__name__)

KIND = "model"
"""Of the manifest."""
TOLERANCE = 1e-4
"""Of a weight, and relative to those above 1."""
PROBE_WORDS = (1, 2, 3, 11, 12, 400)
"""Words of the texts that are compared; what is beyond the limit is cut, as in every text."""


@dataclass(frozen=True)
class Exporting:
    """A side that is being exported.

    Attributes:
        sides: that it is of.
        loaded: what encodes it here.
        settings: where its parts are.
        weights: the same as a plain module.
        tokenizer: of transformers.
        dtype: that ``encode`` computes it in.
    """

    sides: tuple[Side, ...]
    loaded: LoadedSide
    settings: SideSettings
    weights: TermWeights
    tokenizer: Any
    partners: dict[str, str]


def export_model(
    model: str,
    out: Path,
    target: ExportTarget,
    *,
    side: Side | None = None,
    max_length: int | None = None,
    pooling: Pooling | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write ``model`` into the folder ``out`` as ``target`` takes it.

    Args:
        model: a folder or a hub name.
        side: None for both.
        max_length: in tokens; None for the model's own limit, which is never exceeded.
        pooling: None for what was saved with the model, else "max".

    Returns:
        The manifest of ``out``; its options say of which sides it is.

    Raises:
        BadInputError: no such model, or not one that gives sparse term weights.
        CheckFailedError: what was exported does not give the weights that ``encode`` does.
        MissingToolError: the extra ``onnx`` is not installed.
        UsageError: ``out`` exists, or was made otherwise.
        ExternalProgramError: ``out`` cannot be written.
    """
    check_choice("to", target, ExportTarget)
    if target == "onnx":
        require("onnx", "writing ONNX")
    snapshot = find_snapshot(model)
    files = {
        Path(path).relative_to(snapshot.folder).as_posix(): digest
        for path, digest in fingerprints([snapshot.folder]).items()
        if not Path(path).relative_to(snapshot.folder).as_posix().startswith(".")
    }
    plan = {
        "to": target,
        "model": model,
        "revision": snapshot.revision,
        "side": side,
        "max_length": max_length,
        "pooling": pooling,
        "files": files,
        "tools": _tools(target),
    }
    if kept := _kept(out, plan, overwrite=overwrite):
        return kept
    for name in (side,) if side else get_args(Side):
        if find_exported(model, name) is not None:
            raise BadInputError("is a graph of ONNX: name the checkpoint it was made from", model)
    settings = {name: read_settings(snapshot.folder, name) for name in get_args(Side)}
    alike = settings["document"] == settings["query"]
    wanted: tuple[Side, ...] = (side,) if side and not alike else get_args(Side)
    with staged_folder(out, overwrite=overwrite, inputs=[snapshot.folder]) as folder:
        told = {}
        info: EncodingInfo | None = None
        for name in wanted[:1] if alike else wanted:
            place = folder if alike or side else folder / name
            place.mkdir(exist_ok=True)
            exporting, info = _exporting(
                model, name, wanted if alike else (name,), settings[name], max_length, pooling
            )
            worst = WRITERS[target](exporting, place)
            told[name] = {
                "sides": exporting.sides,
                "folder": place.relative_to(folder).as_posix(),
                "largest_difference": worst,
                "encoding": info,
            }
            vocabulary = VocabularyInfo.of(exporting.loaded.vocabulary)
        manifest = Manifest(
            kind=KIND,
            vocabulary=vocabulary,
            counts=Counts(),
            encoding=info,
            options={"plan": plan, "exports": list(told.values())},
            tools=plan["tools"],  # type: ignore[arg-type]
        )
        return manifest.save(folder)


def _exporting(
    model: str,
    side: Side,
    sides: tuple[Side, ...],
    settings: SideSettings,
    max_length: int | None,
    pooling: Pooling | None,
) -> tuple[Exporting, EncodingInfo]:
    encoder = load_encoder(
        model, side, EncodeOptions(max_length, pooling, dtype="float32", device="cpu")
    )
    loaded = encoder.loaded
    tokenizer = load_tokenizer(settings.tokenizer, lower_case=settings.lower_case)
    network = None
    if settings.network is not None:
        network = load_masked_lm(settings.network)
    other = loaded.partner_sha256
    theirs = {"query" if side == "document" else "document": other} if other else {}
    weights = TermWeights(network, loaded, tokenizer.all_special_ids).eval()
    return (
        Exporting(
            sides,
            loaded,
            settings,
            weights,
            tokenizer,
            {side: loaded.weights_sha256, **theirs},
        ),
        encoder.info(0),
    )


def _onnx(exporting: Exporting, folder: Path) -> float:
    """A folder that ``-m`` takes, and Anserini's query encoders its two files."""
    loaded = exporting.loaded
    note = {
        "model": loaded.model,
        "sides": exporting.sides,
        "method": loaded.method,
        "max_length": loaded.max_length,
        "prompt": exporting.settings.prompt,
        "special": loaded.network is not None,
        "partners": exporting.partners,
    }
    file = write_graph(exporting.weights, folder, note)
    exporting.tokenizer.save_pretrained(folder)
    network = exporting.weights.network
    if network is not None:
        network.config.save_pretrained(folder)
    _write_vocabulary(exporting.tokenizer, folder)
    graph = Graph(file, torch.device("cpu"))
    output = graph.output(sorted(exporting.tokenizer.get_vocab().values()))

    def weights(ids: Tensor, lengths: list[int]) -> Tensor:
        return graph.weights(ids, lengths, output, loaded.pooling, loaded.activation)

    return largest_difference(loaded, weights, str(folder / FILE))


def _write_vocabulary(tokenizer: Any, folder: Path) -> None:
    """``vocab.txt`` for who knows no other tokenizer than BERT's, if it is one."""
    if type(tokenizer.backend_tokenizer.model).__name__ != "WordPiece":
        log.info("%s: its tokenizer is not BERT's, which is the only one that Anserini has", folder)
        return
    tokens = {i: token for token, i in tokenizer.get_vocab().items()}
    lines = [tokens.get(i, f"[no token {i}]") for i in range(max(tokens) + 1)]
    (folder / VOCABULARY).write_text("".join(f"{token}\n" for token in lines), encoding="utf-8")


def largest_difference(
    loaded: LoadedSide, weights: Callable[[Tensor, list[int]], Tensor], place: str
) -> float:
    """How far weights of some texts, made of the model's own words, are from those of ``encode``.

    Args:
        weights: of what was exported: float32[B, W] of texts laid end to end, by token id.
        place: of the export, for the message.

    Raises:
        CheckFailedError: too far.
    """
    terms = loaded.vocabulary.terms
    words = [term for term in terms if term.isalnum()] or list(terms)
    rng = np.random.default_rng(0)
    texts = [" ".join(words[i] for i in rng.integers(0, len(words), n)) for n in PROBE_WORDS]
    rows = sorted((row for row in loaded.tokenizer(texts).ids if len(row)), key=len, reverse=True)
    worst = 0.0
    for some in (rows, rows[:1], rows[-1:]):
        ids = torch.from_numpy(np.concatenate(some).astype(np.int64))
        lengths = [len(row) for row in some]
        with torch.inference_mode():
            wanted = _most_active(loaded.weights(ids, lengths), loaded.max_active)
            found = weights(ids, lengths)[:, loaded.columns]
        scale = 1 + wanted.abs().amax(1, keepdim=True)
        worst = max(worst, float(((found - wanted).abs() / scale).max()))
        if not worst <= TOLERANCE:
            raise CheckFailedError(
                f"{place}: its weights differ from those of encode by up to {worst:.2g}, above "
                f"{TOLERANCE:g}: this network cannot be exported. Nothing was written"
            )
    return worst


def _most_active(weights: Tensor, most: int | None) -> Tensor:
    """``weights`` [B, V] as rows of a store hold them."""
    found = torch.zeros_like(weights)
    for row, (indices, values) in zip(found, SparseRows(weights, most).fetch(), strict=True):
        row[indices] = torch.from_numpy(values)
    return found


WRITERS: dict[ExportTarget, Callable[[Exporting, Path], float]] = {"onnx": _onnx}


def _tools(target: ExportTarget) -> dict[str, str]:
    tools = {
        "splade-bridge": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if target == "onnx":
        import onnx
        import onnxruntime

        tools |= {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    return tools


def _kept(out: Path, plan: dict[str, Any], *, overwrite: bool) -> Manifest | None:
    """The manifest of ``out``, where it is whole and was made by this plan."""
    if overwrite or not manifest_file(out).is_file():
        return None
    manifest, made = None, None
    try:
        manifest = Manifest.load(out)
        made = manifest.option("plan", dict[str, Any], out)
    except BadInputError:  # damaged: it is in the way, as any output
        manifest = None
    check_same(out, plan, made, {out / f.path: f.bytes for f in manifest.files} if manifest else {})
    tell(out)
    return manifest
