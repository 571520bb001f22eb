"""Candidate passages of queries, to be ranked."""
