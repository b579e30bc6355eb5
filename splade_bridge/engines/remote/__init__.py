"""Engines that hold an index themselves: search engines and vector databases behind an address."""
