"""Reports as values, Markdown and HTML."""
