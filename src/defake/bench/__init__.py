"""FakeBench on Inspect: tasks, scorers, runs."""
