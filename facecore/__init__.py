"""facecore: a workflow-orchestrated face-analytics data platform."""

__version__ = "0.1.0"
