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

#: what kernels work out for one state after the other, gaps and their errors included, in the order of output
SIZES = ("token_similarity", "log_token_diversity", "hfc_lfc", "log_hfc_lfc", "log_norm", "log_spread")
ANGULAR = ("cosine", "log_cosine_gap", "abs_cosine", "log_abs_cosine_gap")
RANKS = ("effective_rank", "log_effective_rank_gap", "stable_rank", "log_rank_gap")
