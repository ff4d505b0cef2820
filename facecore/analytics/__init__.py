"""What the catalogue tells: reports, drift, forecasts, clusters, anomalies. No I/O."""
