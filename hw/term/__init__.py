"""Term revealing: arrays that compute with few signed powers of two per group of weights."""
