"""Samples become predictions, in time: the session, novelty, deadlines and replay."""
