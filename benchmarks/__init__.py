"""How fast, as ratios to a C loop that is built and timed in the same run: `python -m benchmarks`."""
