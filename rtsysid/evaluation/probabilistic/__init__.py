"""Proper scores of sampled futures, and the null models that they are compared with.

All scores are computed on deviations from the point forecast: they do not change when truth and futures move together.
"""
