"""A network that was exported to ONNX, run by onnxruntime: token ids in, weights of terms out.

Its inputs are found by name, its outputs by name and by what a probe shows of their shapes:

====================================  ==================================================
``output_idx``, ``output_weights``    what Anserini's query encoders read: the terms of a
                                      text and their weights, [n] each; of several texts,
                                      one after another, where ``output_lengths`` [B]
                                      says how many terms each has
[B, V] floats, none below 0           weights, pooled in the graph
[B, L, V] floats                      logits of a masked language model
====================================  ==================================================
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
import torch
from torch import Tensor

from splade_bridge.encoding.head import Activation, Pooling, activate_
from splade_bridge.encoding.network import first_line
from splade_bridge.encoding.packed import padded_groups
from splade_bridge.errors import BadInputError, MissingToolError, install
from splade_bridge.files.inside import inside
from splade_bridge.files.typed import Where

log = logging.getLogger(__name__)

IDS, MASK, TYPES, POSITIONS = INPUTS = (
    "input_ids", "attention_mask", "token_type_ids", "position_ids"
)  # fmt: skip
TERMS, WEIGHTS, LENGTHS = LISTED = ("output_idx", "output_weights", "output_lengths")
"""The first two are Anserini's; the third lets several texts be asked at once."""
NOTE = "splade-bridge"
"""Key of what ``export-model`` notes in a graph."""
INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
MOST_LOGITS = 1 << 25
"""Of one run (128 MiB), unless a single text has more."""
PADDED_TO = 128
"""Heads are wider than their vocabulary, up to a multiple of this: terms there have no token."""
SAME = 1e-3
SHAPES = (
    "[batch, length, terms] (logits), [batch, terms] (weights), or output_idx and output_weights"
)

Kind = Literal["logits", "weights", "listed"]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Output:
    """What is read of a graph.

    Attributes:
        kind: see the module.
        name: of the output; ``output_idx`` for ``listed``.
        width: token ids are below.
        by_padding: whether texts of different lengths may be asked together.
    """

    kind: Kind
    name: str
    width: int
    by_padding: bool


class Graph:
    """A graph, ready to run.

    Args:
        file: ends in .onnx; what is stored beside it is found from it.
        device: of torch; CUDA where onnxruntime has it.

    Attributes:
        note: what ``export-model`` wrote into it; empty for a graph of others.
        dtype: of its weights or logits.

    Raises:
        BadInputError: it is damaged, or wants inputs that are not a text's.
        MissingToolError: onnxruntime is not installed.
    """

    def __init__(self, file: Path, device: torch.device) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingToolError(
                f"{file} is an ONNX graph and needs {error.name}: {install('onnx')}"
            ) from error
        provider = "CPUExecutionProvider"
        if device.type == "cuda":
            provider = "CUDAExecutionProvider"
            if provider not in onnxruntime.get_available_providers():
                log.warning(
                    "%s runs on the CPU: onnxruntime %s has no CUDA (pip install onnxruntime-gpu "
                    "in its place)", file, onnxruntime.__version__,
                )  # fmt: skip
                provider = "CPUExecutionProvider"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.enable_mem_pattern = False  # for shapes that stay the same; it keeps memory
        options.log_severity_level = 4  # what fails is told by the error
        self.file = file
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=[provider])
        except Exception as error:  # onnxruntime has a class for each fault, with no common root
            raise BadInputError(
                f"onnxruntime cannot load it ({first_line(error)})", str(file)
            ) from error
        self._inputs = {i.name: i for i in self._session.get_inputs()}
        self._outputs = {o.name: o for o in self._session.get_outputs()}
        self._check_inputs()

    @cached_property
    def note(self) -> dict[str, Any]:
        """See the class.

        Raises:
            BadInputError: it is damaged.
        """
        noted = self._session.get_modelmeta().custom_metadata_map.get(NOTE)
        try:
            found = {} if noted is None else orjson.loads(noted)
        except orjson.JSONDecodeError as error:
            raise BadInputError(
                f"what was noted in it is damaged ({error}): export it again", str(self.file)
            ) from error
        return found if isinstance(found, dict) else {}

    @property
    def longest(self) -> int | None:
        """The only length of a text that it takes, in tokens; None if it takes any."""
        return self._fixed(1)

    def dtype(self, output: Output) -> str:
        """The type of what is read of it."""
        name = WEIGHTS if output.kind == "listed" else output.name
        return FLOATS[self._outputs[name].type]

    def _fixed(self, axis: int) -> int | None:
        size = self._inputs[IDS].shape[axis]
        return size if isinstance(size, int) else None

    def _check_inputs(self) -> None:
        place = str(self.file)
        unknown = [name for name in self._inputs if name not in INPUTS]
        if unknown or IDS not in self._inputs:
            raise BadInputError(
                f"its inputs are {', '.join(self._inputs)}; known are {', '.join(INPUTS)}, of which"
                f" {IDS} must be there: export it with these names",
                place,
            )
        for name, given in self._inputs.items():
            if given.type not in INTEGERS or len(given.shape) != 2:
                raise BadInputError(
                    f"its input {name} is {given.type} of shape {given.shape}, and must be int64 "
                    "or int32 of [batch, length]",
                    place,
                )

    def output(self, tokens: Sequence[int]) -> Output:
        """What is read of it, by its names and by a probe.

        Args:
            tokens: the ids of the tokenizer.

        Raises:
            BadInputError: nothing that is known, or it does not fit the tokenizer.
        """
        probe = [np.array(tokens[1:12], np.int64), np.array(tokens[6:12], np.int64)]
        if TERMS in self._outputs and WEIGHTS in self._outputs:
            return self._listed(max(tokens) + 1, probe)
        return self._by_shape(len(tokens), max(tokens) + 1, probe)

    def _listed(self, width: int, probe: list[Ids]) -> Output:
        for name, types in ((TERMS, tuple(INTEGERS)), (WEIGHTS, tuple(FLOATS))):
            if self._outputs[name].type not in types:
                raise BadInputError(
                    f"its output {name} is {self._outputs[name].type}, not one of "
                    f"{', '.join(types)}",
                    str(self.file),
                )
        if self._outputs[WEIGHTS].type != "tensor(float)":
            log.info("%s: weights of type %s", self.file, self._outputs[WEIGHTS].type)
        several = LENGTHS in self._outputs
        found = Output("listed", TERMS, width, several)
        self._terms_and_weights(self._run(probe if several else probe[:1]), 2 if several else 1)
        return found

    def _by_shape(self, terms: int, width: int, probe: list[Ids]) -> Output:
        found = {}
        told = []
        together = self._run(probe)
        for name, value in together.items():
            told.append(f"{name} {list(value.shape)}")
            kind: Kind | None = {3: "logits", 2: "weights"}.get(value.ndim)  # type: ignore[assignment]
            if kind and self._outputs[name].type in FLOATS and value.shape[-1] >= width:
                found[name] = kind
        if "logits" in found:
            found = {"logits": found["logits"]}
        if len(found) != 1:
            wrong = "more than one of its outputs" if found else "none of its outputs"
            raise BadInputError(
                f"{wrong} has a column for each of the tokenizer's {terms:,} tokens; two texts of "
                f"{len(probe[0])} and {len(probe[1])} tokens gave {', '.join(told)}. Wanted is "
                f"{SHAPES}: export it with the head of its masked language model",
                str(self.file),
            )
        [(name, kind)] = found.items()
        value = together[name]
        below = bool((value < 0).any())
        if kind == "weights" and below:
            raise BadInputError(
                f"its output {name} has weights below 0: it is pooled, but without log(1 + "
                "ReLU(x)). Export it with that, or with logits of [batch, length, terms]",
                str(self.file),
            )
        if kind == "logits" and not below:
            raise BadInputError(
                f"its output {name} has nothing below 0, so that it may be weights and not logits; "
                "export it pooled, as [batch, terms]",
                str(self.file),
            )
        alone = self._run(probe[1:])[name][0]
        beside = value[1]
        if kind == "logits":
            alone, beside = alone[: len(probe[1])], beside[: len(probe[1])]
        by_padding = MASK in self._inputs and bool(
            np.abs(alone - beside).max() <= SAME * (1 + np.abs(alone).max())
        )
        return Output(kind, name, int(value.shape[-1]), by_padding)

    def weights(
        self,
        ids: Tensor,
        lengths: Sequence[int],
        output: Output,
        pooling: Pooling,
        activation: Activation,
    ) -> Tensor:
        """Weights float32[B, W] of texts laid end to end, by token id.

        Args:
            ids: int64[T] on the CPU.
            lengths: of the texts, falling.

        Raises:
            BadInputError: the graph cannot take these texts, or gives what it did not in the probe.
            MemoryError: it says that there is none left.
        """
        rows = [row.numpy() for row in torch.split(ids, list(lengths))]
        found = []
        for some in self._runs(lengths, output):
            given = self._run(rows[some])
            sizes = list(lengths[some])
            if output.kind == "listed":
                found.append(self._dense(given, len(sizes), output.width))
                continue
            values = torch.from_numpy(given[output.name][: len(sizes)]).float()
            found.append(
                values if values.ndim == 2 else _pooled(values, sizes, pooling, activation)
            )
        return torch.cat(found)

    def _runs(self, lengths: Sequence[int], output: Output) -> list[slice]:
        """The texts of each run."""
        if output.by_padding:
            groups = padded_groups(lengths)
        else:
            sizes = [1] * len(lengths)
            if output.kind != "listed":
                sizes = [len(list(same)) for _, same in groupby(lengths)]
            ends = np.cumsum(sizes).tolist()
            groups = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        found = []
        for group in groups:
            longest = self.longest or lengths[group.start]
            most = max(1, MOST_LOGITS // output.width // longest)
            most = min(most, self._fixed(0) or most)
            found += [
                slice(start, min(start + most, group.stop))
                for start in range(group.start, group.stop, most)
            ]
        return found

    def _run(self, rows: Sequence[Ids]) -> dict[str, npt.NDArray[Any]]:
        length = self.longest or max(map(len, rows))
        batch = self._fixed(0) or len(rows)
        ids = np.zeros((max(batch, len(rows)), length), np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row[:length]
            mask[i, : len(row)] = 1
        mask[len(rows) :, 0] = 1  # rows that only fill up are texts, too
        if len(ids) > batch:  # a probe of two texts where one is taken at a time
            parts = [self._run([row]) for row in rows]
            return {
                name: np.concatenate([_widened(part[name], length) for part in parts])
                for name in parts[0]
            }
        known = {IDS: ids, MASK: mask, TYPES: np.zeros_like(ids)}
        known[POSITIONS] = np.broadcast_to(np.arange(length), ids.shape)
        feed = {
            n: np.ascontiguousarray(known[n], INTEGERS[i.type]) for n, i in self._inputs.items()
        }
        try:
            values = self._session.run(list(self._outputs), feed)
        except Exception as error:
            if "alloc" in str(error):
                raise MemoryError(str(error)) from error
            raise BadInputError(
                f"it cannot be run on a text of {length} tokens ({first_line(error)}): use a "
                "smaller --max-length, if it was exported for shorter ones",
                str(self.file),
            ) from error
        return dict(zip(self._outputs, values, strict=True))

    def _dense(self, given: dict[str, npt.NDArray[Any]], texts: int, width: int) -> Tensor:
        """float32[texts, width] of listed terms."""
        terms, weights, lengths = self._terms_and_weights(given, texts)
        padded = -(-width // PADDED_TO) * PADDED_TO
        if len(terms) and not 0 <= terms.min() <= terms.max() < padded:
            raise BadInputError(
                f"its output {TERMS} has term {terms.max():,}, and the tokenizer {width:,} tokens: "
                "they do not belong together",
                str(self.file),
            )
        found = torch.zeros(texts, padded)
        found[np.repeat(np.arange(texts), lengths), terms] = torch.from_numpy(weights)
        return found[:, :width]

    def _terms_and_weights(
        self, given: dict[str, npt.NDArray[Any]], texts: int
    ) -> tuple[Ids, npt.NDArray[np.float32], Ids]:
        terms, weights = given[TERMS], given[WEIGHTS]
        lengths = given.get(LENGTHS, np.array([terms.size]))
        if terms.size != terms.shape[-1] or weights.shape != terms.shape or len(lengths) < texts:
            raise BadInputError(
                f"its outputs {TERMS} and {WEIGHTS} are of shapes {list(terms.shape)} and "
                f"{list(weights.shape)}, and must be [n] both",
                str(self.file),
            )
        lengths = lengths[:texts].astype(np.int64)
        kept = int(lengths.sum())
        flat = terms.reshape(-1)[:kept].astype(np.int64)
        return flat, weights.reshape(-1)[:kept].astype(np.float32), lengths


def _widened(value: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """Logits of one text among longer ones."""
    if value.ndim != 3 or value.shape[1] >= length:
        return value
    return np.pad(value, ((0, 0), (0, length - value.shape[1]), (0, 0)))


def _pooled(
    logits: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
) -> Tensor:
    """float32[B, W] of logits float32[B, L, W], of which each text has its ``lengths``."""
    found = []
    for text, length in zip(logits, lengths, strict=True):
        if pooling == "max":
            found.append(activate_(text[:length].amax(0), activation))
        else:
            found.append(activate_(text[:length].clone(), activation).sum(0))
    return torch.stack(found)


def graph_files(file: Path) -> list[Path]:
    """The file of a graph, and the files beside it that hold its larger tensors.

    Raises:
        BadInputError: it is damaged, or names a file outside of its folder, or one is missing.
        MissingToolError: onnx is not installed.
    """
    try:
        import onnx
        from onnx.external_data_helper import uses_external_data
    except ModuleNotFoundError as error:
        raise MissingToolError(
            f"{file} is an ONNX graph and needs {error.name}: {install('onnx')}"
        ) from error
    try:
        model = onnx.load(file, load_external_data=False)
        names = {
            entry.value
            for tensor in _tensors(model.graph)
            if uses_external_data(tensor)
            for entry in tensor.external_data
            if entry.key == "location"
        }
    except Exception as error:  # protobuf raises its own, and RuntimeError for what is not UTF-8
        raise BadInputError(f"not a graph of ONNX ({first_line(error)})", str(file)) from error
    found = [file]
    for name in sorted(names):
        place = inside(file.parent, name, Where(str(file)), links=True)
        if not place.is_file():
            raise BadInputError(f"{name}, which holds its weights, is missing", str(file))
        found.append(place)
    return found


def _tensors(graph: Any) -> list[Any]:
    """Every tensor in ``graph``, those of the branches of its nodes as well."""
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            found += [attribute.t, *attribute.tensors]
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    found += _tensors(inner)
    return found
