"""``python -m das``: what the console script does, for launchers that start modules."""

from das.main import run

run()
