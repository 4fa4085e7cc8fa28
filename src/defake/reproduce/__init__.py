"""Published experiments as procedures: the same training, the same tests, the published figures beside ours."""
