"""Variants x engines x algorithms x k, from one specification to one report."""
