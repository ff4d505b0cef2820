"""The MLflow model "from code" of registered matchers; see `pyfunc_model.py`."""

from __future__ import annotations

from typing import Any

import mlflow.models
import mlflow.pyfunc
import pandas as pd


class PairModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow is untyped here
    """Columns `first`, `second` (bytes) in; `probability` and `error` out."""

    def load_context(self, context: Any) -> None:
        """Load the weights, verified against the contract."""
        # Imported here: MLflow also runs this file to register a version, without loading it.
        from facecore.lifecycle.pair_serving import PairService

        self._service = PairService(context.artifacts)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """One answer per row."""
        pairs = zip(model_input["first"], model_input["second"], strict=True)
        return self._service.compare(list(pairs))


mlflow.models.set_model(PairModel())
