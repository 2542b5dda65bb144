"""Properties for bounded and unbounded proof."""
