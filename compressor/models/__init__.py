"""Models as a prologue, steps over streams and an epilogue, and surgery on such lists."""
