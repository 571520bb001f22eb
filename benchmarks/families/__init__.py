"""Families of models, on models made on the spot and real ones."""
