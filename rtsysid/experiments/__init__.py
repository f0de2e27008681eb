"""What trains and judges many models: benchmarks, comparisons, studies and the demonstration."""
