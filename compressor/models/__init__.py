"""What every model is: a prologue, steps over streams, an epilogue; and what is done to such a list."""
