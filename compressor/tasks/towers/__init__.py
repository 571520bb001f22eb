"""What vectors of texts and images in one space are worth: which find each other, how near they are to the full."""
