"""How good is a model, compared with the one in use, and may it take its place?

Evaluate both on the same snapshot (`evaluate_embedder`, `evaluate_detector`), measure what they
cost (`measure_cost`), `compare` them, hold the result against the `gates`, and show a person the
page that `render_evidence` makes.
"""

from facecore.lifecycle.evaluation.comparison import Comparison, Difference, Evaluation, compare
from facecore.lifecycle.evaluation.cost import Cost, ModelCost, Subject, measure_cost
from facecore.lifecycle.evaluation.detector_evaluation import DetectorEvaluation, evaluate_detector
from facecore.lifecycle.evaluation.embedder_evaluation import (
    EmbedderEvaluation,
    calibration_of,
    evaluate_embedder,
)
from facecore.lifecycle.evaluation.evidence import render_evidence
from facecore.lifecycle.evaluation.plot_style import Plot
from facecore.lifecycle.evaluation.plotting import draw_plots, plots
from facecore.lifecycle.evaluation.promotion_gates import GateLimits, GateResult, gates, passed

__all__ = [
    "Comparison",
    "Cost",
    "DetectorEvaluation",
    "Difference",
    "EmbedderEvaluation",
    "Evaluation",
    "GateLimits",
    "GateResult",
    "ModelCost",
    "Plot",
    "Subject",
    "calibration_of",
    "compare",
    "draw_plots",
    "evaluate_detector",
    "evaluate_embedder",
    "gates",
    "measure_cost",
    "passed",
    "plots",
    "render_evidence",
]
