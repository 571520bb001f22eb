"""What ``torchrun`` starts for tests/compressor/test_distributed.py: a run, and one that is interrupted and resumed."""

import sys

from compressor.compression import compress
from compressor.distributed import all_gather, rank
from compressor.errors import Interrupted
from compressor.progress import QUIET
from compressor.settings import Settings
from tests.compressor.saved_run.test_resume import SIGNALS, SignalAt


def main(options):
    asked = Settings.model_validate_json(options)
    whole = compress(asked.model_copy(update={"out": "runs/whole"}))
    for stage, resume in (("Searching", False), ("Recovering", True)):
        progress = SignalAt(SIGNALS[1], 4, stage) if rank() == 1 else QUIET  # one is told; all must stop
        try:
            compress(asked, resume=resume, progress=progress)
        except Interrupted as stopped:
            hints = all_gather([stopped.hint.partition(";")[0]])
            assert len(hints) == 2 and len(set(hints)) == 1, hints
        else:
            raise AssertionError("not stopped")
    resumed = compress(asked, resume=True)
    assert resumed.manifest.plan == whole.manifest.plan


if __name__ == "__main__":
    main(sys.argv[1])
