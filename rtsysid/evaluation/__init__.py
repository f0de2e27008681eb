"""How good a model is: errors by horizon, baselines, residuals, calibration and the report."""
