"""What vectors of texts are worth: how alike they find texts, which documents they find, how near the full model's."""
