"""What a trained network does: evaluation on a split, figures of each class, image files."""
