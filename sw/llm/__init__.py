"""Language models: weights and tokenizer of a GGUF file, a NumPy decoder, KV number formats."""
