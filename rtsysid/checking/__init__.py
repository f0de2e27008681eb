"""Check recordings before anything is trained: faults of the log, conventions, and what a model can learn from it."""
