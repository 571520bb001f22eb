"""The families das knows, in one explicit list."""

from __future__ import annotations

from compressor.families.base import Family
from compressor.families.meter import METER

FAMILIES: dict[str, Family] = {family.name: family for family in (METER,)}
