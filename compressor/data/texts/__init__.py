"""Texts that are embedded one by one, and what people said of them."""
