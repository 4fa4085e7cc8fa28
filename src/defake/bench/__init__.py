"""FakeBench and sets like it: tasks, scoring, judging, tables."""
