"""Datapath families: one class for each, which answers all that other code asks of a datapath."""
