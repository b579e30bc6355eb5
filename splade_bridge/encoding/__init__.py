"""Text to sparse vectors; the only part that imports torch."""
