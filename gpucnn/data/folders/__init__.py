"""Folders of image files, with one sub-folder for each class."""
