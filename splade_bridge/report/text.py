"""How numbers are written for people."""

from __future__ import annotations


def short(value: float) -> str:
    """A count in few letters: ``998k``, ``1.2M``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size * 0.9995:  # what would be rounded to 1000 of the smaller unit
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def size(value: float) -> str:
    """Bytes as ``3.4 MB`` (powers of 1000)."""
    return f"{short(value)}B".replace("kB", " kB").replace("MB", " MB").replace("GB", " GB")


def milliseconds(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def seconds(value: float) -> str:
    """One digit after the point, two below a second."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"


def measured(value: float) -> str:
    """A measure, as trec_eval writes it."""
    return f"{value:.4f}"


def change(value: float) -> str:
    """A signed difference of measures; a true minus sign, and none before zero."""
    return _minus(f"{value:+.4f}") if abs(value) >= 0.00005 else "0.0000"


def signed(value: float) -> str:
    """The same for one query, with two digits."""
    return _minus(f"{value:+.2f}")


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def p_value(value: float) -> str:
    """``<.001``, ``.012``, ``1``; what is below .05 never looks like .05."""
    if value < 0.001:
        return "<.001"
    digits = 4 if 0.0495 <= value < 0.05 else 3
    return "1" if value >= 0.9995 else f"{value:.{digits}f}".removeprefix("0")


def share(value: float) -> str:
    """Per cent with one digit."""
    return f"{100 * value:.1f} %"
