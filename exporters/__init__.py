"""Turning a model into something a runtime executes, and proving that it answers the same."""
