"""The one graph of a network, its operators, and its values in floats."""
