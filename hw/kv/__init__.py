"""KV cache: slots and scores per head, eviction, recomputation, refresh, pages."""
