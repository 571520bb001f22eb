"""A slim model as a folder of transformers."""
