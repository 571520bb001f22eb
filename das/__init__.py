"""The face of das: the command line and the public Python API."""
