"""A bundle opened, and its model computed: one step and whole forecasts, on every backend. No torch."""
