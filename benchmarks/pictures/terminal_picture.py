"""Draw docs/demo.svg, the report of a run in a terminal: ``python -m benchmarks.pictures.terminal_picture RUN``."""

from __future__ import annotations

import sys
from pathlib import Path

from compressor.saved_run.run_folder import open_run
from das.render import print_report as render_report
from das.terminal import console
from profiles.reports.build_report import build_report

PICTURE = Path(__file__).parents[2] / "docs" / "demo.svg"


def main() -> None:
    console.record = True
    run = open_run(sys.argv[1])
    render_report.print_report(build_report(run), Path("runs") / run.path.name)
    console.save_svg(str(PICTURE), title="das demo")


if __name__ == "__main__":
    main()
