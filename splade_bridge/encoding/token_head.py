r"""Heads that weigh the tokens of a text, each by one number, and know no other terms.

The weight of a token at position i is :math:`\mathrm{ReLU}(a \cdot h_i + b)`, with the last hidden
state :math:`h_i`. Two kinds are saved with checkpoints:

- BGE-M3 (arXiv 2402.03216, section 3.1): a and b in ``sparse_linear.pt`` beside the network; a term
  has the largest weight among its places; what begins, ends and pads a text, and the unknown token,
  have none, as FlagEmbedding's ``BGEM3FlagModel`` leaves them out.
- uniCOIL (arXiv 2106.14807) and TILDEv2 (arXiv 2108.08513): a and b as ``tok_proj`` among the
  weights. As Pyserini has it (``pyserini/encode/_unicoil.py``), [CLS] alone has no weight, a
  document's term has the largest one, a query's term the sum over its places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from splade_bridge.data.manifest import Side
from splade_bridge.encoding.adapters import adapter_chain
from splade_bridge.encoding.head import owners, spoil_
from splade_bridge.encoding.identity import whole_weights
from splade_bridge.encoding.network import TOKEN_PROJECTION, first_line
from splade_bridge.encoding.snapshot import SPARSE_LINEAR
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.typed import Where, as_table, json_file, value_of

LEFT_OUT = {"bge-m3": ("cls", "eos", "pad", "unk"), "unicoil": ("cls", "pad")}
"""Special tokens without a weight."""

Join = Literal["max", "sum"]


@dataclass(frozen=True)
class TokenHead:
    """Weights of a text's own tokens.

    Attributes:
        projection: float32[H], times a hidden state.
        bias: added to that.
        kept: bool[W], tokens that have a weight.
        join: of the places of one token.
        columns: int64[V], token id of each term.
    """

    projection: Tensor
    bias: float
    kept: Tensor
    join: Join
    columns: Tensor

    @property
    def method(self) -> str:
        """In words, for manifests."""
        return f"tokens {self.join}"

    def __call__(self, hidden: Tensor, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """float32[B, V] of B texts.

        Args:
            hidden: [T, H], the positions of all texts end to end.
            ids: int64[T], their tokens.
            lengths: of the texts.
        """
        values = (hidden.float() @ self.projection).add_(self.bias).relu_() * self.kept[ids]
        width = len(self.kept)
        rows = torch.zeros(len(lengths) * width, device=hidden.device)
        places = owners(lengths, hidden.device) * width + ids
        rows.scatter_reduce_(0, places, values, "amax" if self.join == "max" else "sum")
        return spoil_(rows.view(-1, width)[:, self.columns], hidden, lengths)


@dataclass(frozen=True)
class SavedHead:
    """Where such a head lies.

    Attributes:
        kind: of :data:`LEFT_OUT`.
        file: that holds its numbers.
    """

    kind: str
    file: Path

    def load(
        self, side: Side, tokenizer: Any, columns: Tensor, network: Any, device: torch.device
    ) -> TokenHead:
        """The head, ready to run on ``device``.

        Args:
            columns: int64[V], token id of each term.
            network: that it stands on, with hidden states of H numbers.

        Raises:
            BadInputError: the file is damaged, or is not of a linear layer from H to 1.
        """
        projection, bias = self._numbers()
        size = network.config.get_text_config().hidden_size
        if projection.numel() != size or bias.numel() != 1:
            raise BadInputError(
                f"its head takes hidden states of {projection.numel()} numbers and its network has "
                f"{size}: they do not belong together",
                str(self.file),
            )
        if not bool(torch.isfinite(projection).all() and torch.isfinite(bias).all()):
            raise BadInputError("a weight of its head is not finite", str(self.file))
        kept = torch.ones(int(columns[-1]) + 1)
        for name in LEFT_OUT[self.kind]:
            token = getattr(tokenizer, f"{name}_token_id", None)
            if token is not None:
                kept[token] = 0
        join: Join = "sum" if self.kind == "unicoil" and side == "query" else "max"
        return TokenHead(
            projection.flatten().to(device), float(bias), kept.to(device), join, columns.to(device)
        )

    def _numbers(self) -> tuple[Tensor, Tensor]:
        prefix = "" if self.kind == "bge-m3" else TOKEN_PROJECTION
        try:
            if self.file.suffix == ".safetensors":
                from safetensors import safe_open

                with safe_open(self.file, "pt") as saved:
                    found = [saved.get_tensor(f"{prefix}{name}") for name in ("weight", "bias")]
            else:
                state = torch.load(self.file, map_location="cpu", weights_only=True)
                found = [state[f"{prefix}{name}"] for name in ("weight", "bias")]
            weight, bias = (tensor.detach().float() for tensor in found)
        except Exception as error:  # a damaged file raises whatever its reader raises
            raise BadInputError(
                f"holds no linear layer, weight and bias alone ({first_line(error)})",
                str(self.file),
            ) from error
        return weight, bias


def saved_head(network: Path, side: Side) -> SavedHead | None:
    """The head of a checkpoint that weighs tokens; None for one that weighs all terms.

    Raises:
        UsageError: queries of TILDEv2, which it does not weigh.
    """
    base = adapter_chain(network)[-1]
    for folder in dict.fromkeys((network, base)):
        if (folder / SPARSE_LINEAR).is_file():
            return SavedHead("bge-m3", folder / SPARSE_LINEAR)
    for file in sorted(whole_weights(base)):
        if f"{TOKEN_PROJECTION}weight" not in _names(file):
            continue
        if side == "query" and _is_tilde(base):
            raise UsageError(
                f"{network}: TILDEv2 weighs no queries, whose tokens count 1: use --query-mode bow"
            )
        return SavedHead("unicoil", file)
    return None


def _names(file: Path) -> list[str]:
    """The names of the tensors in a file of weights, which are not read; none of a damaged one."""
    try:
        if file.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(file, "pt") as saved:
                return list(saved.keys())
        return list(torch.load(file, map_location="cpu", weights_only=True, mmap=True))
    except Exception:  # whoever loads the network says what is wrong
        return []


def _is_tilde(folder: Path) -> bool:
    where = Where(str(folder / "config.json"))
    named = value_of(
        as_table(json_file(where), where), "architectures", list[str] | None, where, None
    )
    return any(name.startswith("TILDE") for name in named or ())
