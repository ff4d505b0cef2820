"""The MLflow model "from code" of every registered version. MLflow copies this file and runs it.

Nothing is pickled: the weights are safetensors artifacts, and the code is this file plus the
installed facecore. Importing it outside MLflow only defines the class and registers it with
`mlflow.models.set_model`.
"""

from __future__ import annotations

from typing import Any

import mlflow.models
import mlflow.pyfunc
import pandas as pd


class FaceModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow is untyped here
    """Column `image` (bytes) in; columns `faces` and `error` out, see `serving.signature`."""

    def load_context(self, context: Any) -> None:
        """Load the weights, verified against the contract."""
        # Imported here: MLflow also runs this file to register a version, without loading it.
        from facecore.lifecycle.serving import FaceService

        self._service = FaceService(context.artifacts)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """One answer per row."""
        return self._service.faces(model_input["image"].tolist())


mlflow.models.set_model(FaceModel())
