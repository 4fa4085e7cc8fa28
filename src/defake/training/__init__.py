"""Training: the published recipe with its defects mended, on transformers' Trainer."""
