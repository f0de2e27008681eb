"""Open a bundle and run its model: steps and forecasts, on every backend. No torch."""
