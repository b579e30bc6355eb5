"""Dense vectors: their parts, faiss indexes of them, and the search in these."""
