"""Tables of the report of a run."""

import pytest

from compressor.saved_run.run_folder import open_run
from exporters.checks.audit import Shares
from exporters.checks.records import read_record
from exporters.folder import exports_of
from profiles.reports.build_report import build_report
from profiles.reports.compression_tables import tabulate_exports


@pytest.mark.parametrize("certified", [True, False])
def test_the_figures_of_an_export_are_those_of_its_certificate(shared_exports, certified):
    run = open_run(shared_exports)
    record = read_record(exports_of(run).path / "model.onnx")
    found = record.certificate.against_slim
    samples = record.certificate.samples
    report = build_report(run)
    if not certified:
        record = record.model_copy(update={"certificate": None})
        found, samples = record, record.samples
    record = record.model_copy(update={"shares": Shares(macs=0.964, bytes=0.9, bytes_per_parameter=1.1)})
    (entry,) = (entry for entry in report.exports if entry.file == "model.onnx")
    alone = report.model_copy(update={"exports": (entry.model_copy(update={"parity": record}),)})
    (row,) = tabulate_exports(alone).rows
    agreement = f"{found.answer_agreement:.1%}"
    assert row[2:] == (str(samples), f"{found.max_abs_error:.1e}", agreement, "96.4%", "passed")
