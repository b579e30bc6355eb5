"""Static pruning: which postings of vectors stay, one policy a class, each with its paper."""
