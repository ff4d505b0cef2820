"""The MLflow model "from code" of registered forecasters; see `pyfunc_model.py`."""

from __future__ import annotations

from typing import Any

import mlflow.models
import mlflow.pyfunc
import pandas as pd


class HourModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow is untyped here
    """Columns `counts` and `hour_of_week` in; `quantiles` and `problem` out."""

    def load_context(self, context: Any) -> None:
        """Load the weights, verified against the contract."""
        # Imported here: MLflow also runs this file to register a version, without loading it.
        from facecore.lifecycle.analysis_serving import HourService

        self._service = HourService(context.artifacts)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """One answer per row."""
        rows = zip(model_input["counts"], model_input["hour_of_week"], strict=True)
        return self._service.forecast(list(rows))


mlflow.models.set_model(HourModel())
