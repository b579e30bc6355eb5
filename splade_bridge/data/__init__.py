"""What flows: vectors, counts, ids, hits, vocabularies, manifests, and how they are kept."""
