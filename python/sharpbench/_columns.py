"""The columns of the frames `cells` and `rows`, with their types.

JSON does not give the type of a null, so the types are listed here. A schema maps each column's
name to its kind or, for a nested object, to that object's schema. docs/reports.md explains each
column.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["text", "integer", "number", "flag"]
Schema: TypeAlias = "dict[str, Kind | Schema]"

SUMMARY: Schema = {"n": "integer", "mean": "number", "sd": "number"}
MEDIAN: Schema = {"n": "integer", "median": "number", "min": "number", "max": "number"}
INTERVAL: Schema = {"low": "number", "high": "number"}
DIFFERENCE: Schema = {
    **SUMMARY,
    "standard_error": "number",
    "freedom": "number",
    "interval": INTERVAL,
    "interval_over_samples": INTERVAL,
    "p": "number",
    "p_corrected": "number",
    "p_sign_flip": "number",
}
CLAIM: Schema = {
    "finding": "text",
    "p": "number",
    "n": "integer",
    "planned": "integer",
    "diverged": "flag",
}

SETTING: Schema = {
    "optimizer": "text",
    "sparsity": "number",
    "mask": "text",
    "pattern": "text",
    "group_axis": "text",
    "budget": "number",
    "refresh": "text",
    "mask_interval": "integer",
    "fisher_samples": "integer",
    "fisher_mode": "text",
    "drop_rate": "number",
    "grow": "text",
    "rho": "number",
    "norm": "text",
    "perturbation": "text",
    "rho_decay": "text",
    "variant": "text",
    "batch_norm": "text",
    "lr": "number",
    "base": "text",
    "beta2": "number",
    "momentum": "number",
    "nesterov": "flag",
    "weight_decay": "number",
    "epochs": "integer",
    "label_noise": "text",
    "label_smoothing": "text",
}

CELLS: Schema = {
    "suite": "text",
    "profile": "text",
    "data": "text",
    "stand_in": "flag",
    "id": "text",
    **SETTING,
    "seed": "integer",
    "status": "text",
    "test_accuracy_last": "number",
    "test_accuracy_best": "number",
    "test_nll": "number",
    "test_ece": "number",
    "train_seconds": "number",
    "mask_seconds": "number",
    "seconds_to_target": "number",
    "step_seconds_median": "number",
    "reference_step_seconds": "number",
    "flops_nominal": "number",
    "flops_theoretical": "number",
    "flops_executed": "number",
    "live_fraction": "number",
    "convergence_exponent": "number",
    "eigenvalue_over_edge": "number",
    "eigenvalue_over_gradient_descent_edge": "number",
    "eigenvalue": "number",
    "trace": "number",
    "max_loss_increase": "number",
    "peak_memory_bytes": "integer",
    "fingerprint": "text",
}

# Without the row's cells, its accuracies by epoch and the live fractions by tensor: they are tables
# of their own, and remain in `Run.report`.
ROWS: Schema = {
    **SETTING,
    "label": "text",
    "name": "text",
    "planned": "integer",
    "diverged": "integer",
    "test_accuracy_last": SUMMARY,
    "test_accuracy_best": SUMMARY,
    "test_nll": SUMMARY,
    "test_ece": SUMMARY,
    "to_sgd": DIFFERENCE,
    "to_sam": DIFFERENCE,
    "to_equal_flops": DIFFERENCE,
    "claims": {
        "gain": CLAIM,
        "no_loss": CLAIM,
        "retention": CLAIM,
        "share": {"n": "integer", "value": "number", "interval": INTERVAL},
        "seeds_for_no_loss": "integer",
    },
    "seconds_to_target": {"n": "integer", "reached": "integer", **MEDIAN},
    "on_front_of_seconds": "flag",
    "on_front_of_flops": "flag",
    "step_seconds": MEDIAN,
    "step_ratio_to_sgd": MEDIAN,
    "train_seconds": MEDIAN,
    "train_ratio_to_sgd": MEDIAN,
    "flops_nominal": "number",
    "flops_theoretical": "number",
    "flops_executed": "number",
    "flops_nominal_ratio_to_sgd": "number",
    "flops_theoretical_ratio_to_sgd": "number",
    "flops_executed_ratio_to_sgd": "number",
    "live_fraction": SUMMARY,
    "masks": {"refreshes": MEDIAN, "overlap": SUMMARY, "fisher_share": SUMMARY},
    "convergence_exponent": SUMMARY,
    "eigenvalue_over_edge": MEDIAN,
    "eigenvalue_over_gradient_descent_edge": MEDIAN,
    "ascent_better_aligned": "number",
    "edge_unconverged": "integer",
    "eigenvalue": SUMMARY,
    "trace": SUMMARY,
    "max_loss_increase": SUMMARY,
}


def flat_kinds(schema: Schema, prefix: str = "") -> Iterator[tuple[str, Kind]]:
    """List the columns that nested ones become.

    Args:
        schema: Columns, nested or not.
        prefix: What the names begin with.

    Yields:
        Name and kind of each column.

    Example:
        >>> dict(flat_kinds({"to_sgd": {"n": "integer", "interval": {"low": "number"}}}))
        {'to_sgd_n': 'integer', 'to_sgd_interval_low': 'number'}
    """
    for name, kind in schema.items():
        if isinstance(kind, dict):
            yield from flat_kinds(kind, f"{prefix}{name}_")
        else:
            yield prefix + name, kind


def flat_values(schema: Schema, value: Mapping[str, Any] | None) -> Iterator[Any]:
    """List the values of one object, in the order of `flat_kinds`.

    Args:
        schema: Columns, nested or not.
        value: The object; None where the report has null.

    Yields:
        The value of each column, None where there is none.

    Example:
        >>> list(flat_values({"n": "integer", "interval": {"low": "number"}}, {"n": 3}))
        [3, None]
    """
    for name, kind in schema.items():
        inner = None if value is None else value.get(name)
        if isinstance(kind, dict):
            yield from flat_values(kind, inner)
        else:
            yield inner
