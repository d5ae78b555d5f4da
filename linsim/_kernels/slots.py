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

#: what sums over the tokens of each state are written, in this order
CONTENT = ("largest", "high", "e_high", "low", "e_low", "farthest")
PAIR = ("main", "e", "delta", "split_off", "noise", "noise_main")
ANGLES = (
    "near", "e_near", "worst", "off_q", "mean_turn", "square_turn", "present", "centre", "scatter",
    "all_pairs", "above", "one_side", "aligned",
)  # fmt: skip
