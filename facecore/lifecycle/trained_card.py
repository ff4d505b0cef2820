"""The card of a model that was trained here: what it is, learned from what, and how good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facecore.lifecycle.model_card import model_card
from facecore.lifecycle.thresholds import Calibration


def trained_card(
    model: str,
    *,
    training: Mapping[str, Any],
    evaluated_on: str,
    metrics: Mapping[str, float],
    champion: str = "",
    champion_metrics: Mapping[str, float] | None = None,
    slices: Mapping[str, Mapping[str, float]] | None = None,
    calibration: Calibration | None = None,
    contract: str = "",
) -> str:
    """Markdown: the zoo's card, training, results beside the champion's, thresholds, contract.

    Args:
        training: what to say of the run, name → value.
        evaluated_on: data set and split of `metrics`.
        slices: group → rate → value, at the deployed threshold.
        contract: digest of the embedding contract.
    """
    parts = [
        model_card(model, calibration=calibration).rstrip(),
        _table("Training", ("", ""), [(name, _text(value)) for name, value in training.items()]),
        _results(evaluated_on, metrics, champion, champion_metrics or {}),
    ]
    if slices:
        rates = sorted({rate for values in slices.values() for rate in values})
        rows = [
            (group, *(_text(values.get(rate, "")) for rate in rates))
            for group, values in slices.items()
        ]
        parts.append(_table("Error rates by group", ("group", *rates), rows))
    if contract:
        parts.append(f"Contract: `{contract}`")
    return "\n\n".join(parts) + "\n"


def _results(
    evaluated_on: str,
    metrics: Mapping[str, float],
    champion: str,
    champion_metrics: Mapping[str, float],
) -> str:
    if not champion:
        rows = [(name, _text(value)) for name, value in metrics.items()]
        return _table(f"Results on {evaluated_on}", ("", "this model"), rows)
    beside = [
        (name, _text(value), _text(champion_metrics.get(name, "")))
        for name, value in metrics.items()
    ]
    return _table(f"Results on {evaluated_on}", ("", "this model", champion), beside)


def _table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"## {title}", "", *lines])


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
