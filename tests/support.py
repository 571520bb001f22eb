"""What several tests share."""

from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
