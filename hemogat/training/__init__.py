"""Training: encoder fine-tuning, features, fusion head, metrics, run directories."""
