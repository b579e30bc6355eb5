"""A cross-encoder from a recipe with a section ``[reranker]``, on sentence-transformers' trainer.

Rows of :mod:`.data` (a query with its positive and hard negatives, and perhaps teacher scores)
become what the losses of sentence-transformers take:

| loss | of sentence-transformers | labels |
|---|---|---|
| ``pointwise`` | BinaryCrossEntropyLoss, as monoBERT (arXiv:1901.04085) | 1 for the positive, 0 for each negative |
| ``lce`` | ListNetLoss of a distribution that is the positive's alone: the cross-entropy of it among its hard negatives (Gao et al., arXiv:2101.08751), the softmax loss of RankT5 (arXiv:2210.10634) | |
| ``ranknet`` | RankNetLoss (Burges et al., ICML 2005): pairs, as duoT5 learns (arXiv:2101.05667) from a score of each document alone | teacher scores, else 1 and 0 |
| ``lambda`` | LambdaLoss with NDCG-Loss2++ (Wang et al., CIKM 2018) | teacher scores, else 1 and 0 |
| ``kl`` | ListNetLoss of the softmax of the teacher's scores | teacher scores |
| ``margin_mse`` | MarginMSELoss (arXiv:2010.02666) | teacher scores |
"""  # noqa: E501 - a table

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer
from sentence_transformers.cross_encoder import losses as library

from splade_bridge.encoding.network import quiet, refusal
from splade_bridge.errors import CheckFailedError, UsageError
from splade_bridge.training.checkpoints import Resuming
from splade_bridge.training.examples import KNOWN
from splade_bridge.training.hub import model_folder
from splade_bridge.training.options import RerankerOptions

if TYPE_CHECKING:
    from datasets import Dataset

    from splade_bridge.training.recipe import Recipe

ALONE = 100.0
"""A label whose softmax beside zeros is 1, and theirs 0, in float32."""
DISTILS = ("kl", "margin_mse")
LISTS = ("lce", "ranknet", "lambda", "kl")


class RerankerTrainer(Resuming, CrossEncoderTrainer):  # type: ignore[misc]
    """Refuses a loss that is no number, and writes no card."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Look at the loss, then log."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise CheckFailedError(
                f"step {self.state.global_step}: the loss is {logs['loss']}: lower "
                'train.learning_rate, or choose train.precision = "bf16" or "fp32"'
            )
        super().log(logs, start_time)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No card: the finished checkpoint gets one that names the recipe."""


def build_reranker(recipe: Recipe, *, trust_remote_code: bool = False) -> CrossEncoder:
    """The network of ``model.base``, with a new head where it has none for one score.

    Args:
        trust_remote_code: run code that comes with the base.

    Raises:
        BadInputError: it cannot be loaded.
    """
    import torch

    assert recipe.reranker
    folder = model_folder(recipe.model.base, "model.base", recipe.model.revision)
    try:
        with quiet():
            model = CrossEncoder(
                str(folder),
                num_labels=1,
                device="cpu",
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                model_kwargs={"dtype": torch.float32},
            )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise refusal(error, folder, "cannot be loaded as a cross-encoder") from error
    own = model.max_seq_length or recipe.reranker.max_length
    model.max_seq_length = min(own, recipe.reranker.max_length)
    return model


def reranker_rows(dataset: Dataset, options: RerankerOptions) -> Dataset:
    """The rows as the loss takes them.

    Raises:
        UsageError: a loss that distils, and no teacher scores in the data.
    """
    if options.loss in DISTILS and "label" not in dataset.column_names:
        raise UsageError(
            f"reranker.loss = {options.loss!r} needs teacher scores, and the data have none: name "
            "a file in data.scores, or make one with `splade-bridge train score`"
        )
    if KNOWN in dataset.column_names:  # of losses over a batch
        dataset = dataset.remove_columns([KNOWN])
    if options.loss == "margin_mse":
        return dataset
    documents = [c for c in dataset.column_names if c not in ("query", "label")]
    make = _pairs if options.loss == "pointwise" else _lists(options)

    def changed(rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        texts = [list(row) for row in zip(*(rows[c] for c in documents), strict=True)]
        return make(rows["query"], texts, rows.get("label"))

    return dataset.map(changed, batched=True, remove_columns=dataset.column_names)


Rows = Callable[[list[str], list[list[str]], Any], dict[str, list[Any]]]


def _pairs(queries: list[str], texts: list[list[str]], _: Any) -> dict[str, list[Any]]:
    return {
        "query": [q for q, row in zip(queries, texts, strict=True) for _ in row],
        "document": [text for row in texts for text in row],
        "label": [float(i == 0) for row in texts for i in range(len(row))],
    }


def _lists(options: RerankerOptions) -> Rows:
    def make(queries: list[str], texts: list[list[str]], scores: Any) -> dict[str, list[Any]]:
        first = ALONE if options.loss == "lce" else 1.0
        given = [[first, *[0.0] * (len(row) - 1)] for row in texts]
        taught = scores is not None and options.loss != "lce"
        return {"query": queries, "documents": texts, "label": scores if taught else given}

    return make


def reranker_loss(model: CrossEncoder, options: RerankerOptions, mini_batch: int) -> Any:
    """The loss of sentence-transformers.

    Args:
        mini_batch: pairs in a forward pass, of the losses over lists; 0 takes all of a batch.
    """
    if options.loss == "pointwise":
        return library.BinaryCrossEntropyLoss(model)
    if options.loss == "margin_mse":
        return library.MarginMSELoss(model)
    of_list = {"ranknet": library.RankNetLoss, "lambda": library.LambdaLoss}
    made = of_list.get(options.loss, library.ListNetLoss)
    return made(model, mini_batch_size=mini_batch or -1)


def load_reranker(checkpoint: Path, *, trust_remote_code: bool = False) -> CrossEncoder:
    """The model of a training's checkpoint, as it is saved in the end."""
    return CrossEncoder(str(checkpoint), device="cpu", trust_remote_code=trust_remote_code)
