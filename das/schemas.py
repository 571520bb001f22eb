"""JSON schemas of the output of ``--json`` and of a run's files, made from the values themselves.

``python -m das.schemas docs/schemas`` writes them. From the first release on fields are only added
within a version, so a reader ignores those it does not know.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from compressor.hub.hub_folder import SavedFolder
from compressor.saved_run.manifest import Manifest
from compressor.tuning.tuned import Tuned
from compressor.vocabulary.trim_folder import TrimmedVocabulary
from das.asked import Predicted
from das.doctor.health import Health
from das.problems import Problems
from das.reproduction.outlook import ReproductionPlan
from das.results import Answered, DryRun, Evaluated, Exports, Searched, TunePlan
from exporters.checks.records import Parity
from exporters.verify import VerifyReport
from profiles.analysis.explanation import Explanation
from profiles.analysis.inspection import Inspection
from profiles.analysis.pareto import ParetoReport
from profiles.comparison.run_vs_run import RunsReport
from profiles.comparison.seed_runs import SeedsComparison, SeedsReport
from profiles.gates.baseline import ComparedProfile
from profiles.macs.flops_report import FlopsReport
from profiles.paper.reproduction import Reproduction
from profiles.reports.compression_report import CompressionReport

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ENDING = ".schema.json"


@dataclass(frozen=True)
class Document:
    """A JSON document: its source, as a user would say it, and the value it holds."""

    title: str
    value: type[BaseModel]


DOCUMENTS: Mapping[str, Document] = {
    "inspect": Document("das inspect --json", Inspection),
    "flops": Document("das flops --json", FlopsReport),
    "search": Document("das search --json", Searched),
    "compress": Document("das compress --json, and report.json of a run", CompressionReport),
    "seeds": Document("das compress --seeds --json, and seeds.json", SeedsReport),
    "dry-run": Document("das compress --dry-run --json", DryRun),
    "tune": Document("das tune --json, and tuned.json of its folder", Tuned),
    "tune-dry-run": Document("das tune --dry-run --json", TunePlan),
    "eval": Document("das eval --json", Evaluated),
    "answers": Document("das answers --json", Answered),
    "predict": Document("a line of das predict --json", Predicted),
    "export": Document("das export --json", Exports),
    "save": Document("das save --json", SavedFolder),
    "verify": Document("das verify --json", VerifyReport),
    "profile": Document("das profile --json, and profile.json of a run", ComparedProfile),
    "compare": Document("das compare --json", RunsReport),
    "trim-vocabulary": Document("das trim-vocabulary --json", TrimmedVocabulary),
    "compare-seeds": Document("das compare --json of folders of several seeds", SeedsComparison),
    "reproduce": Document("das reproduce --json, and report.json in its folder", Reproduction),
    "reproduce-dry-run": Document("das reproduce --dry-run --json", ReproductionPlan),
    "pareto": Document("das pareto --json", ParetoReport),
    "explain": Document("das explain --json", Explanation),
    "doctor": Document("das doctor --json", Health),
    "problems": Document("--json of a command that could not do what was asked", Problems),
    "manifest": Document("manifest.json of a run", Manifest),
    "parity": Document("the .parity.json beside an export", Parity),
}


def make_schema(name: str) -> dict[str, Any]:
    """Return the JSON schema of one of ``DOCUMENTS`` as it is written, with computed fields."""
    document = DOCUMENTS[name]
    version = document.value.model_fields["schema_version"].default
    body = document.value.model_json_schema(mode="serialization")
    body["properties"]["schema_version"] = {"const": version, "type": "integer"}
    body["required"] = ["schema_version", *body["required"]]
    identity = {"$schema": DIALECT, "$id": f"urn:das-toolkit:{name}:{version}"}
    return {**identity, **body, "title": document.title, "version": version}


def format_schema(name: str) -> str:
    """Return the schema as the text of its file."""
    return json.dumps(make_schema(name), indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Write every schema into ``folder``, and remove those of documents that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"*{ENDING}"):
        path.unlink()
    for name in DOCUMENTS:
        (folder / f"{name}{ENDING}").write_text(format_schema(name))


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
