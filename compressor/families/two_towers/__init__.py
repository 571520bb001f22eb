"""Models of two towers, one that reads texts and one that reads images, whose vectors are compared."""
