"""Reranking: the candidate passages of a query in the order of their relevance."""
