"""Training: the trainer, its configuration, the run directory and checkpoints."""
