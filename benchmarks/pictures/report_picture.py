"""Draw docs/report.png, the page of a run as a browser shows it: ``python -m benchmarks.pictures.report_picture RUN``.

The picture ends with the section on accuracy. Needs Chromium; RUN should be one on generated data, whose pictures may
be shown (``das demo`` makes one).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import sync_playwright

from compressor.saved_run.run_folder import open_run
from profiles.reports.build_report import build_report
from profiles.reports.html import PAGE, render_run

PICTURE = Path(__file__).parents[2] / "docs" / "report.png"
WIDTH = 1000
NEXT = "latency"  # the section behind the last one that is shown
LARGEST = 400_000  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=PICTURE)
    given = parser.parse_args()
    program = shutil.which("chromium")
    if program is None:
        sys.exit("no Chromium here: apt-get install chromium")
    run = open_run(given.run)
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / PAGE
        path.write_text(render_run(run, build_report(run)), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(path.as_uri())
        end = page.evaluate(f"document.getElementById('{NEXT}').getBoundingClientRect().top")
        shot = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": round(end)})
        browser.close()
    Image.open(BytesIO(shot)).convert("RGB").save(given.out, optimize=True)
    if given.out.stat().st_size > LARGEST:
        sys.exit(f"{given.out} has {given.out.stat().st_size:,} bytes, more than {LARGEST:,}")


if __name__ == "__main__":
    main()
