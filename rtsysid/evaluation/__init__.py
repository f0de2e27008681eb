"""Evaluate models: errors by horizon, baselines, residual tests, calibration and the report."""
