"""Sizes mean what people mean by them, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from splade_bridge.comparison.read_spec import load_spec
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.sizes import size_in_bytes

SIZES = {
    "1048576": 1_048_576,
    "1000000B": 1_000_000,
    "1000K": 1_000_000,
    "1000kB": 1_000_000,
    "1000KiB": 1_024_000,
    "500M": 500_000_000,
    "500mb": 500_000_000,
    "500 MB": 500_000_000,
    "500MiB": 524_288_000,
    "500mi": 524_288_000,
    "2G": 2 * 10**9,
    "1.5g": 1_500_000_000,
    "2GiB": 2 * 1024**3,
    " 2T ": 2 * 10**12,
}
NONE = ["", " ", "inf", "nan", "-2G", "+2G", "2KM", "2GG", "2MK", "G", "GiB", "2IB", "2iB", "1e9"]
NONE += ["2_000_000", "2,5G", "0x10M", "2GBB", "2P", "1..5G", ".5G", "٢G", "2G\n3", "infG"]


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_a_size_is_read(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size like"):
        size_in_bytes(text)


@pytest.mark.parametrize("text", ["0", "999999", "999K", "0.5M", "0G"])
def test_less_than_a_million_bytes_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="at least 1M"):
        size_in_bytes(text)


@pytest.mark.parametrize(("written", "size"), [("70000000", 70_000_000), ('"70MB"', 70_000_000)])
def test_a_specification_takes_both(tmp_path: Path, written: str, size: int) -> None:
    assert _spec(tmp_path, written).index.memory == size


@pytest.mark.parametrize("written", ['"70KM"', '"inf"', "inf", "0", "true", '"5K"', "[]"])
def test_a_specification_names_what_is_no_size(tmp_path: Path, written: str) -> None:
    with pytest.raises(BadInputError, match=r"spec\.toml: \[index\] memory: "):
        _spec(tmp_path, written)


def _spec(folder: Path, memory: str):  # type: ignore[no-untyped-def]
    (folder / "spec.toml").write_text(
        f'[data]\nqrels = "q"\ndocuments = "d"\nqueries = "q"\n[engines]\nexact = []\n'
        f'[index]\nmemory = {memory}\n[[variant]]\nname = "full"\n'
    )
    return load_spec(folder / "spec.toml")
