"""The demo: a small collection, its questions and answers, and a small model to search it with."""
