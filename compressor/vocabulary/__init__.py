"""A vocabulary reduced to what given texts need: the tokenizer, and the rows that a model has for its tokens."""
