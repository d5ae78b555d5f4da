"""Which numbers there are and where each goes: below the kernels and their callers, who must agree."""

#: what the kernels measure, in the order of their output: all that needs no eigenvectors
MEASURED = (
    "token_similarity",
    "log_token_diversity",
    "hfc_lfc",
    "log_hfc_lfc",
    "cosine",
    "abs_cosine",
    "effective_rank",
    "stable_rank",
    "log_norm",
    "log_spread",
)
