"""BLIP that says whether a text and an image belong together: its sizes, its modules, its declaration."""
