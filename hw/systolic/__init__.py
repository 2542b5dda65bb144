"""Dense systolic arrays, weight-stationary and output-stationary."""
