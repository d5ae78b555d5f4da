"""linsim: what must happen in a deep linear Transformer, and what does."""
