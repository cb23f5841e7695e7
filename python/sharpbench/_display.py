"""A run in a few lines: the answer and a table, as text and as HTML."""

from html import escape
from typing import Any, TypeAlias

Report: TypeAlias = dict[str, Any]

HEAD = ["setting", "accuracy %", "vs SGD", "gain kept", "step", "FLOPs"]
NOTHING = "-"


def as_text(report: Report) -> str:
    """Show a report as text.

    Args:
        report: The report.

    Returns:
        Title, answer and table.

    Example:
        >>> report = {"suite": "s", "profile": "smoke", "data": "d", "stand_in": True,
        ...           "cells_planned": 2, "cells_finished": 1, "answer": ["No answer."], "rows": []}
        >>> print(as_text(report))
        s smoke on d (STAND-IN), incomplete: 1 of 2 cells
        No answer.
        <BLANKLINE>
        setting  accuracy %  vs SGD  gain kept  step  FLOPs
    """
    lines = [HEAD, *_table(report)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    table = [
        "  ".join(
            # Names to the left, numbers to the right.
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join([_title(report), *report["answer"], "", *table])


def as_html(report: Report) -> str:
    """Show a report as HTML.

    Args:
        report: The report. Its texts are escaped: names can come from untrusted suites.

    Returns:
        Title, answer and table.

    Example:
        >>> report = {"suite": "<s>", "profile": "smoke", "data": "d", "stand_in": False,
        ...           "cells_planned": 1, "cells_finished": 1, "answer": [], "rows": []}
        >>> as_html(report).splitlines()[0]
        '<p><b>&lt;s&gt; smoke on d, 1 cells</b></p>'
    """
    answer = "<br>\n".join(escape(sentence) for sentence in report["answer"])
    head = "".join(f"<th>{escape(text)}</th>" for text in HEAD)
    lines = [
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in line) + "</tr>"
        for line in _table(report)
    ]
    return "\n".join(
        [
            f"<p><b>{escape(_title(report))}</b></p>",
            f"<p>{answer}</p>",
            f"<table>\n<thead><tr>{head}</tr></thead>",
            "<tbody>",
            *lines,
            "</tbody>\n</table>",
        ]
    )


def _title(report: Report) -> str:
    title = f"{report['suite']} {report['profile']} on {report['data']}"
    if report["stand_in"]:
        title += " (STAND-IN)"
    planned, finished = report["cells_planned"], report["cells_finished"]
    if finished < planned:
        return f"{title}, incomplete: {finished} of {planned} cells"
    return f"{title}, {planned} cells"


def _table(report: Report) -> list[list[str]]:
    return [
        [
            row["name"],
            _accuracy(row["test_accuracy_last"]),
            _difference(row["to_sgd"]),
            _share(row["claims"]["share"]),
            _ratio((row["step_ratio_to_sgd"] or {}).get("median")),
            _ratio(row["flops_executed_ratio_to_sgd"]),
        ]
        for row in report["rows"]
    ]


def _accuracy(summary: dict[str, Any] | None) -> str:
    if summary is None:
        return NOTHING
    mean = f"{100 * summary['mean']:.1f}"
    return mean if summary["sd"] is None else f"{mean} ± {100 * summary['sd']:.1f}"


def _difference(difference: dict[str, Any] | None) -> str:
    if difference is None:
        return NOTHING
    return _estimate(difference["mean"], difference["interval"], "+.1f")


def _share(share: dict[str, Any] | None) -> str:
    if share is None:
        return NOTHING
    return _estimate(share["value"], share["interval"], ".0f", "%")


def _estimate(value: float, interval: dict[str, float] | None, form: str, unit: str = "") -> str:
    """A fraction in percent, with its interval if it has one."""
    text = f"{100 * value:{form}}{unit}"
    if interval is None:
        return text
    return f"{text} [{100 * interval['low']:{form}}, {100 * interval['high']:{form}}]"


def _ratio(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.2f}"
