"""What reports, forecasts, drift checks and alerts read and write."""
