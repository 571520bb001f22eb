"""One compression with several seeds."""
