"""Search a space of configurations for models with a small error and a small cost.

`space` says what is varied, `objective` trains and measures one configuration, `study` keeps the trials in the storage
of Optuna, `worker` runs trials until the budget is spent, `front` ranks them, and `page` shows them.
"""
