"""Mutation testing of synthesised units."""
