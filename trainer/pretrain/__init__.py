"""A small backbone from scratch: tokenizer, initialisation, masked-LM training on several languages."""
