"""What the folder of a run records as it goes: events, a table of epochs, TensorBoard's files."""
