"""The MLflow model "from code" of registered autoencoders; see `pyfunc_model.py`."""

from __future__ import annotations

from typing import Any

import mlflow.models
import mlflow.pyfunc
import pandas as pd


class CropModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow is untyped here
    """Column `crop` (bytes) in; `code`, `error`, `distance`, `rank` and `problem` out."""

    def load_context(self, context: Any) -> None:
        """Load the weights, verified against the contract."""
        # Imported here: MLflow also runs this file to register a version, without loading it.
        from facecore.lifecycle.analysis_serving import CropService

        self._service = CropService(context.artifacts)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """One answer per row."""
        return self._service.judge(model_input["crop"].tolist())


mlflow.models.set_model(CropModel())
