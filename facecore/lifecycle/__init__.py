"""Models: data sets, training, evaluation, thresholds, packages for the registry."""
