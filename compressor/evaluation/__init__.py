"""Scores of a model on a split, and the samples exports are compared on."""
