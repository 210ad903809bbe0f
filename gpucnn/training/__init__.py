"""What happens in a training run: settings, the loop and its events, checkpoints, evaluation."""
