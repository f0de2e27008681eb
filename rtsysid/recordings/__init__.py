"""Read, check, split and resample recordings of any robot. Nothing here imports a model."""
