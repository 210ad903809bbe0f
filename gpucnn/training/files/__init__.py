"""Files of runs, models and weights: checkpoints, what they hold, and those of other programs."""
