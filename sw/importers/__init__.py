"""Readers of model files, one folder for each format; all give the graph of `sw/model`."""
