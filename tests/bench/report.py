"""Figures of the bench as a table, and into `docs/performance.md`: `python -m tests.bench.report`.

./run bench --scale 100k --json | tail -1 >figures.json
.venv/bin/python -m tests.bench.report figures.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
HEAD = (
    "case",
    "unit",
    "ours",
    "limit",
    "plain",
    "of limit",
    "of plain",
    "p50 ms",
    "p95 ms",
    "server CPU ms",
    "PostgreSQL CPU ms",
    "statements",
)


def table(result: dict[str, Any]) -> str:
    """The figures of a run as a table in Markdown; times and CPU are those of ours, by call."""
    rows = [HEAD, tuple("---" for _ in HEAD)]
    for key, case in result["cases"].items():
        ours = case["detail"]["ours"]
        names = ("p50_ms", "p95_ms", "server_cpu_ms", "postgres_cpu_ms", "statements")
        rows.append(
            (
                key,
                case["unit"],
                *(_figure(case[name]) for name in ("ours", "limit", "plain")),
                *(_ratio(case[name]) for name in ("of_limit", "of_plain")),
                *(_figure(ours.get(name)) for name in names),
            )
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEAD))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([_told(result), "", *lines])


def _told(result: dict[str, Any]) -> str:
    quick = "a quick run, " if result["quick"] else ""
    small = ", ".join(result["database_too_small_for"])
    return (
        f"{result['date']}: {result['tasks']:,} tasks, {quick}{result['rounds']} rounds, "
        f"{result['processors']} processors, load average {result['load_average']} at the end, "
        f"PostgreSQL {result['postgresql']}."
        + (f" The database is too small for {small}." if small else "")
    )


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def write(result: dict[str, Any], text: str) -> str:
    """The document with the table of one scale in its place."""
    begin, end = (f"<!-- {result['scale']}: {word} -->" for word in ("begin", "end"))
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"{DOCUMENT} has no place for {result['scale']}: {begin} ... {end}")
    return f"{head}{begin}\n{table(result)}\n{end}{tail}"


if __name__ == "__main__":
    figures = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()[-1])
    DOCUMENT.write_text(write(figures, DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
