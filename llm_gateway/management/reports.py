"""Print what making the database equal to a configuration did, or would do."""

from django.core.management.base import OutputWrapper

from llm_gateway.configuration.changes import Report

DIFFERS = 2  # the exit code of a plan that would change something


def print_report(out: OutputWrapper, report: Report, *, plan: bool) -> None:
    """Print a line for each difference, the keys that were made, and how many there are."""
    for line in report.lines:
        out.write(line)
    for name, value in report.keys.items():
        out.write(f"Key {name}: {value}  (shown only now)")
    verb = "would be" if plan else "were"
    out.write(
        f"{len(report.created)} {verb} created, {len(report.updated)} updated,"
        f" {len(report.removed)} removed; {report.unchanged} unchanged."
    )
