"""Readers and writers of impacts: vector stores, JsonVectorCollection, CIFF, the bulk stream."""
