"""The model card of a saved folder."""

from __future__ import annotations

from compressor.hub.hub_folder import SavedFolder
from compressor.hub.sentence_folder import LOADER
from compressor.models.plan import summarise
from compressor.saved_run.run_folder import Run
from compressor.tasks.reranking.reranking_task import RERANKING
from compressor.vocabulary.trim_folder import TrimmedVocabulary
from profiles.formatting import HEADER, Table, format_bytes, format_count
from profiles.reports.build_report import build_report
from profiles.reports.compression_report import CompressionReport
from profiles.reports.compression_tables import tabulate_accuracy
from profiles.reports.markdown import format_bullets, format_markdown_table

TEXTS, RANKING = "text-classification", "text-ranking"
PIPELINES = {  # tasks of the Hub, by the class of transformers that loads a model for it
    "AutoModelForSequenceClassification": TEXTS,
    "AutoModelForVisualQuestionAnswering": "visual-question-answering",
    "AutoModelForImageClassification": "image-classification",
    LOADER: "sentence-similarity",
}
TRUST = (
    "**`trust_remote_code=True` is needed**: transformers has no such adapters, and runs `modeling_das.py` of this "
    "folder, which needs torch and transformers alone. Where das is installed, `import das.hub` does instead."
)


def write_card(run: Run, saved: SavedFolder) -> str:
    """Return README.md of a saved folder: what the model is, how it is used, and the report's figures."""
    report = build_report(run)
    accuracy, costs = tabulate_accuracy(report), tabulate_costs(report, saved)
    parts = [
        _front_matter(saved, report.task),
        f"# {report.checkpoint}, {f'{len(report.skipped)} layers fewer' if report.skipped else 'adapted'}",
        _describe(report, saved),
        "## Use",
        _describe_use(saved, report.task),
        f"## {accuracy.title}",
        format_markdown_table(accuracy.header, accuracy.rows),
        "## Costs",
        format_markdown_table(costs.header, costs.rows),
        format_bullets(_remarks(run, report, saved)),
    ]
    return "\n\n".join(parts) + "\n"


def write_trimmed_card(run: Run, saved: SavedFolder, trimmed: TrimmedVocabulary) -> str:
    """Return README.md of a saved folder whose vocabulary was trimmed afterwards."""
    sizes = {"parameters": trimmed.parameters, "weight_bytes": trimmed.weight_bytes}
    vocabulary = (
        f"## Vocabulary\n\n{trimmed.tokens:,} of {trimmed.full_tokens:,} tokens are left: those that occur in a word "
        f"of {trimmed.texts:,} texts, and all single characters. These texts have the same tokens as before, and the "
        f"model's output on {trimmed.samples} of them is the same within {trimmed.max_abs_error:.1e}. Of other texts "
        "words may be cut into smaller tokens than before."
    )
    return f"{write_card(run, saved.model_copy(update=sizes))}\n{vocabulary}\n"


def tabulate_costs(report: CompressionReport, saved: SavedFolder) -> Table:
    """Return what full and saved model cost in transformers, which computes what das's exact trims leave out."""
    costs = report.costs
    rows = (
        (HEADER, format_count(costs.macs.full), format_count(costs.trims.before, like=costs.macs.full)),
        ("parameters", format_count(costs.parameters.full), format_count(saved.parameters)),
        ("weights, float32", format_bytes(costs.weight_bytes.full), format_bytes(saved.weight_bytes)),
    )
    return Table("Costs", ("", "full model", "this model"), rows)


def _front_matter(saved: SavedFolder, task: str) -> str:
    pipeline = _pipeline(saved, task)
    library = "sentence-transformers" if saved.loader == LOADER else "transformers"
    lines = (f"library_name: {library}", *([f"pipeline_tag: {pipeline}"] if pipeline else []), "tags:", "- das")
    return "\n".join(("---", *lines, "---"))


def _pipeline(saved: SavedFolder, task: str) -> str | None:
    """Return the Hub's name for what the model is for."""
    return RANKING if task == RERANKING.name else PIPELINES.get(saved.loader)


def _describe(report: CompressionReport, saved: SavedFolder) -> str:
    """Say what was removed, and what stands in its place."""
    total = saved.layers + len(report.skipped)
    gone, place = f"{summarise(report.skipped)} are gone", "nothing stands in their place"
    if saved.trust_remote_code:
        place = "adapters stand in their place"
    if not report.skipped:
        gone, place = "none is gone", "adapters stand beside them"
    return (
        f"`{saved.architecture}`, made of `{report.checkpoint}` for {report.task} by das (Dynamic Architecture "
        f"Skipping, arXiv 2309.01479). Of {total} layers {gone}; {place}."
    )


def _describe_use(saved: SavedFolder, task: str) -> str:
    """Show how the folder is loaded, and say where its code is needed."""
    trust = ", trust_remote_code=True" if saved.trust_remote_code else ""
    pipeline = _pipeline(saved, task)
    if pipeline == RANKING:
        code = f"""from sentence_transformers import CrossEncoder
rerank = CrossEncoder("FOLDER"{trust})
rerank.predict([("a query", "a passage"), ("a query", "another passage")])"""
    elif pipeline == TEXTS:
        code = f"""from transformers import pipeline
classify = pipeline("{TEXTS}", "FOLDER"{trust})
classify("a text", truncation=True)"""
    elif saved.loader == LOADER:
        code = f"""from sentence_transformers import {LOADER}
model = {LOADER}("FOLDER"{trust})
model.encode(["a text", "another"])"""
    else:
        reader = "AutoImageProcessor" if saved.tokenizer_as_it_came is None else "AutoProcessor"
        code = f"""from transformers import {reader}, {saved.loader}
processor = {reader}.from_pretrained("FOLDER")
model = {saved.loader}.from_pretrained("FOLDER"{trust})"""
    return f"```python\n{code}\n```" + (f"\n\n{TRUST}" if saved.trust_remote_code else "")


def _remarks(run: Run, report: CompressionReport, saved: SavedFolder) -> list[str]:
    """Say how the figures were taken, and what was compared."""
    split, error = report.data[2], f"{saved.max_abs_error:.1e}"
    cut = f", texts cut to {run.dims.text_length} tokens" if run.dims.text_length else ""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return [
        *report.remarks,
        f"Measured on {split['name']} ({', '.join(split['files'])}){cut}.",
        f"Loaded by transformers, its outputs are those of das within {error} on {saved.samples} samples.",
        f"Made with {versions}.",
    ]
