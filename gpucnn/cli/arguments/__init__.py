"""The options of each command, in a file with the command's name."""
