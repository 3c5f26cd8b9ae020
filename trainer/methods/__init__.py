"""Which stack a training step runs through: one file per method."""
