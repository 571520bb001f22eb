"""Data as people have it on disk, turned into batches of tensors."""
