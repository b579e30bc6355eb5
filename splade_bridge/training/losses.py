"""What is minimised: ranking losses, their mix, and regularisers that tell what they saw.

The classes follow sentence-transformers: a ranking loss takes the embeddings of the columns (query,
positive, negatives: each float[B, V]) and the teacher's scores through
``compute_loss_from_embeddings``; a regulariser takes those of one side. ``SpladeLoss`` and
``CachedSpladeLoss`` join them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from sentence_transformers.sparse_encoder import losses as st
from torch import Tensor, nn

from splade_bridge.training.in_batch import Answers
from splade_bridge.training.options import LossOptions, RegularizerOptions, SideRegularizer

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder


class PairwiseSoftmaxLoss(nn.Module):
    """Negative log-likelihood of the positive against each of its own negatives.

    mean over rows and negatives of -log(e^s+ / (e^s+ + e^s-)) = softplus(s- - s+), with dot
    products s: RankNet's loss (Burges et al., ICML 2005). Teacher scores are not looked at.
    """

    def compute_loss_from_embeddings(
        self, embeddings: list[Tensor], labels: Tensor | None = None
    ) -> Tensor:
        """A scalar; ``embeddings`` are float[B, V] of query, positive and 1 or more negatives."""
        query, positive, *negatives = embeddings
        above = (query * positive).sum(1)
        margins = torch.stack([(query * n).sum(1) - above for n in negatives])
        return nn.functional.softplus(margins).mean()


class AntiZeroLoss(nn.Module):
    """Against vectors that lose all their terms: the mean over all texts of 1 / (1 + |w|_1).

    It is 1 for an empty vector, and its pull grows while a vector shrinks. It has to work before
    a vector is empty: through log(1 + relu(x)) a text without active terms gets no gradient, from
    this loss or any other.
    """

    def compute_loss_from_embeddings(
        self, embeddings: list[Tensor], labels: Tensor | None = None
    ) -> Tensor:
        """A scalar in (0, 1]; ``embeddings`` are float[B, V] of all columns."""
        mass = torch.cat(embeddings).abs().sum(1)
        return (1 / (1 + mass)).mean()


class BaseScoresLoss(nn.Module):
    """Squared error of all scores of a batch to those of the model that the training began with.

    mean over queries i and documents j of (s_ij - b_ij)^2, with dot products s of the model and b
    of its base: what the base knows of texts that the data say nothing of is held on to, and scores
    cannot shrink.

    Attributes:
        base: vectors of the batch by the base, as those of the model; told before each batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.base: list[Tensor] = []

    def compute_loss_from_embeddings(
        self, embeddings: list[Tensor], labels: Tensor | None = None
    ) -> Tensor:
        """A scalar; ``embeddings`` are float[B, V] of all columns."""
        query, *documents = embeddings
        base_query, *base_documents = (e.float() for e in self.base)
        scores = query @ torch.cat(documents).T
        wanted = base_query @ torch.cat(base_documents).T
        return nn.functional.mse_loss(scores, wanted)


class MixedLoss(nn.Module):
    """Weighted sum of losses, told apart in the log.

    Attributes:
        answers: what the contrastive loss knows of a batch; None without that loss.
    """

    def __init__(
        self,
        parts: dict[str, nn.Module],
        weights: dict[str, float],
        answers: Answers | None = None,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.weights = weights
        self.answers = answers

    def compute_loss_from_embeddings(
        self, embeddings: list[Tensor], labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Each part's loss times its weight."""
        # Under autocast embeddings come in 16 bits, in which scores of 100 are whole numbers.
        embeddings = [e.float() for e in embeddings]
        parts: Any = self.parts
        return {
            name: self.weights[name] * part.compute_loss_from_embeddings(embeddings, labels)
            for name, part in parts.items()
        }


class Regularizer(nn.Module):
    """FLOPS or L1 of one side, which keeps count of active terms and FLOPS on the way.

    FLOPS = sum over terms j of (mean over texts i of |w_ij|)^2 (Paria et al., arXiv:2004.05665);
    L1 = mean over texts i of (sum over terms j of |w_ij|).

    Attributes:
        sums: added up since the log was last written: ``terms`` (active terms of a text),
            ``flops``, ``batches``.
        seen_terms: of the batches since :meth:`take_terms`.
    """

    def __init__(self, model: SparseEncoder, options: SideRegularizer) -> None:
        super().__init__()
        self.penalty = options.penalty
        self.threshold = options.threshold
        self.flops = st.FlopsLoss(model)
        self.sums: dict[str, Tensor] = {}
        self.seen_terms: list[Tensor] = []

    def compute_loss_from_embeddings(self, embeddings: Tensor) -> Tensor:
        """The penalty, a scalar; ``embeddings`` is float[n, V]."""
        embeddings = embeddings.float()
        active = (embeddings.detach() != 0).sum(1)
        flops = self.flops.compute_loss_from_embeddings(embeddings)
        if self.training:
            terms = active.float().mean()
            self.seen_terms.append(terms)
            self._add(terms=terms, flops=flops.detach(), batches=torch.ones_like(terms))
        if self.penalty == "none":
            return torch.zeros_like(flops)
        if self.threshold is not None:
            embeddings = embeddings * (active > self.threshold).unsqueeze(1)
            flops = self.flops.compute_loss_from_embeddings(embeddings)
        return flops if self.penalty == "flops" else embeddings.abs().sum(1).mean()

    def take_terms(self) -> Tensor | None:
        """Mean active terms of the batches since the last call; None if there were none."""
        seen, self.seen_terms = self.seen_terms, []
        return torch.stack(seen).mean() if seen else None

    def take_sums(self) -> dict[str, Tensor]:
        """What was added up since the last call."""
        sums, self.sums = self.sums, {}
        return sums

    def _add(self, **values: Tensor) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value


def ranking_loss(model: SparseEncoder, options: LossOptions) -> MixedLoss:
    """The mix that ``options`` ask for.

    contrastive is sentence-transformers' MultipleNegativesRanking with dot products: of each
    query's softmax over all positives and negatives of the batch, known answers left out.
    """
    gather = options.gather and dist.is_initialized()
    answers = Answers(gather=gather)
    makers: dict[str, Any] = {
        "contrastive": lambda: st.SparseMultipleNegativesRankingLoss(
            model,
            scale=1 / (options.contrastive_temperature or 1.0),
            similarity_fct=answers,
            gather_across_devices=gather,
        ),
        "pairwise": PairwiseSoftmaxLoss,
        "margin_mse": lambda: st.SparseMarginMSELoss(model),
        "kl": lambda: st.SparseDistillKLDivLoss(model, temperature=options.kl_temperature),
        "base_scores": BaseScoresLoss,
        "anti_zero": AntiZeroLoss,
    }
    weights = {name: getattr(options, name) for name in makers if getattr(options, name)}
    parts = {name: makers[name]() for name in weights}
    return MixedLoss(parts, weights, answers if "contrastive" in weights else None)


def build_loss(
    model: SparseEncoder, losses: LossOptions, sides: RegularizerOptions, mini_batch: int
) -> st.SpladeLoss:
    """Ranking losses and regularisers as one of sentence-transformers' SPLADE losses.

    Args:
        mini_batch: texts encoded at once, with gradients cached; 0 for all of a batch.
    """
    arguments: dict[str, Any] = {
        "loss": ranking_loss(model, losses),
        "document_regularizer": Regularizer(model, sides.document),
        "query_regularizer": Regularizer(model, sides.query),
        "document_regularizer_weight": _weight(sides.document),
        "query_regularizer_weight": _weight(sides.query),
    }
    if mini_batch:
        return st.CachedSpladeLoss(model, mini_batch_size=mini_batch, **arguments)
    return st.SpladeLoss(model, **arguments)


def _weight(options: SideRegularizer) -> float:
    return 0.0 if options.penalty == "none" else options.weight
