"""Packed data sets: folders of .npy files that are read a few images at a time."""
