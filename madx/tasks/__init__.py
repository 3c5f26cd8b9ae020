"""Per task type: input -> rows of token ids, logits -> answers. Pure and torch-free; the tokenizer is passed in."""
