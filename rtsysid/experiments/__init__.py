"""Train and compare many models: benchmarks, comparisons, studies and the demonstration."""
