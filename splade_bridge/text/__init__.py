"""What is read as text: corpora."""
