"""Streams, memories and what every component is built on."""
