"""Damage files of every kind and read them: ``python -m tests.fuzz``. Exit code 1 where one is not read or refused."""

import argparse
import math
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.attempts import attempt_all
from tests.fuzz.kinds import KINDS


def main():
    """Print, for each kind, how many files were read or refused, and every fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="damaged files, in equal shares of the kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=[kind.name for kind in KINDS], help="all without one")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if options.kind in (None, kind.name)]
    faults = 0
    for kind in kinds:
        outcomes, found = Counter(), []
        with TemporaryDirectory() as folder:
            for attempt in attempt_all(kind, range(math.ceil(options.count / len(kinds))), options.seed, Path(folder)):
                outcomes[attempt.outcome] += not attempt.fault
                found += [attempt] if attempt.fault else []
        read = outcomes.pop("read", 0)
        refused = ", ".join(f"{code} {count}" for code, count in outcomes.most_common() if count)
        print(
            f"{kind.name}: {read} read, {sum(outcomes.values())} refused ({refused}), {len(found)} faults", flush=True
        )
        for attempt in found[:20]:
            print(f"  {attempt.number}: {attempt.fault}", flush=True)
        faults += len(found)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
