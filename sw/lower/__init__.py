"""From matrices and networks to engine programs."""
