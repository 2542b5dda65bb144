"""Weight-stationary array for ternary weights: cells add, subtract or skip."""
