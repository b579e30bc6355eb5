"""A model's sides, each as a file for another runtime, compared with ``encode`` before it is there.

Where both sides are one network and are read alike, one export is of both and lies in the output
itself; else ``document`` and ``query`` are folders in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch
import transformers

from splade_bridge import __version__
from splade_bridge.data.choices import Side, check_choice
from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import EncodingInfo, Manifest, VocabularyInfo
from splade_bridge.encoding.choices import ExportTarget, ModelChoices, Pooling
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.exports.elasticsearch import export_elasticsearch
from splade_bridge.encoding.exports.exporting import Exporting
from splade_bridge.encoding.exports.onnx_file import export_onnx
from splade_bridge.encoding.exports.opensearch import export_opensearch
from splade_bridge.encoding.exports.term_weights import TermWeights
from splade_bridge.encoding.network import load_network
from splade_bridge.encoding.onnx_side import find_exported
from splade_bridge.encoding.settings import SideSettings, read_settings
from splade_bridge.encoding.snapshot import find_snapshot
from splade_bridge.encoding.token_head import TokenHead
from splade_bridge.encoding.tokens import load_tokenizer
from splade_bridge.errors import BadInputError, require
from splade_bridge.files.finished import check_same, fingerprints, plain, tell
from splade_bridge.files.outputs import manifest_file
from splade_bridge.files.writing import staged_folder

KIND = "model"
"""Of the manifest."""


def export_model(
    model: str,
    out: Path,
    target: ExportTarget,
    *,
    side: Side | None = None,
    max_length: int | None = None,
    pooling: Pooling | None = None,
    overwrite: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Manifest:
    """Write ``model`` into the folder ``out`` as ``target`` takes it.

    Args:
        model: a folder or a hub name.
        side: None for both.
        max_length: in tokens; None for the model's own limit, which is never exceeded.
        pooling: None for what was saved with the model, else "max".
        revision: branch, tag or commit of a hub name; None for its main branch.
        trust_remote_code: run code that lies in the checkpoint, where its settings name some.

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
    checkpoint = ModelChoices(revision=revision, trust_remote_code=trust_remote_code)
    snapshot = find_snapshot(model, revision)
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
        if find_exported(model, name, revision) is not None:
            raise BadInputError("is a graph of ONNX: name the checkpoint it was made from", model)
    settings = {name: read_settings(snapshot.folder, name) for name in get_args(Side)}
    prompts = {settings[name].prompts.get(name, "") for name in settings}
    alike = settings["document"] == settings["query"] and len(prompts) == 1
    wanted: tuple[Side, ...] = (side,) if side and not alike else get_args(Side)
    with staged_folder(out, overwrite=overwrite, inputs=[snapshot.folder]) as folder:
        told = {}
        info: EncodingInfo | None = None
        for name in wanted[:1] if alike else wanted:
            place = folder if alike or side else folder / name
            place.mkdir(exist_ok=True)
            exporting, info = _exporting(
                model,
                name,
                wanted if alike else (name,),
                settings[name],
                EncodeOptions(
                    max_length, pooling, dtype="float32", device="cpu", checkpoint=checkpoint
                ),
            )
            worst = WRITERS[target](exporting, place)
            told[name] = {
                "sides": exporting.sides,
                "folder": place.relative_to(folder).as_posix(),
                "largest_difference": worst,
                "encoding": asdict(info),
            }
            vocabulary = VocabularyInfo.of(exporting.loaded.vocabulary)
        manifest = Manifest(
            kind=KIND,
            vocabulary=vocabulary,
            counts=Counts(),
            encoding=info,
            options=plain({"plan": plan, "exports": list(told.values())}),
            tools=plan["tools"],  # type: ignore[arg-type]
        )
        return manifest.save(folder)


def _exporting(
    model: str,
    side: Side,
    sides: tuple[Side, ...],
    settings: SideSettings,
    options: EncodeOptions,
) -> tuple[Exporting, EncodingInfo]:
    encoder = load_encoder(model, side, options)
    trusted = options.checkpoint.trust_remote_code
    loaded = encoder.loaded
    tokenizer = load_tokenizer(
        settings.tokenizer,
        lower_case=settings.tokens.lower_case,
        options=settings.tokens.tokenizer_options,
        trust_remote_code=trusted,
    )
    network = None
    if settings.network is not None:
        assert loaded.network is not None
        if isinstance(loaded.network.head, TokenHead) or loaded.pooling == "last":
            raise BadInputError(
                f"gives weights by {loaded.method}; what is exported pools the logits of a masked "
                "language model over all positions",
                model,
            )
        network = load_network(settings.network, trust_remote_code=trusted)
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


WRITERS: dict[ExportTarget, Callable[[Exporting, Path], float]] = {
    "onnx": export_onnx,
    "opensearch": export_opensearch,
    "elasticsearch": export_elasticsearch,
}


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
