"""Number-level pieces: products, adders, delays."""
