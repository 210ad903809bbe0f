"""Single image files, and what they become for a network."""
