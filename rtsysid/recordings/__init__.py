"""Recordings of any robot: read, checked, cut and resampled. Logs become samples; no model is known here."""
