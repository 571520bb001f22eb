"""Tasks of texts whose answer is not one class: a score, several labels, a tag for every word."""
