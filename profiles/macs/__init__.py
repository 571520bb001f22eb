"""Multiply-adds: traced, executed, by formula."""
