"""Token similarity escalation: how fast tokens become alike under attention with fresh random weights.

A layer is Y = X + P X W with attention P (P1 = 1) and a fresh W with E W = 0 and
E W W^T = s^2 I.  Pi averages over tokens, Pi_perp = I - Pi; t = |Pi X|^2 / |X|^2
is the token similarity, t_div = 1 - t the diversity, u = t / t_div the odds and
r = 1 - t_div(Y) / t_div(X) the escalation rate.  A prime (``t_next`` and the
like) marks what the layer makes of a number.  sigma is the spectral norm of
Pi_perp P Pi_perp.  Where E|Pi Y|^2 and E|Pi_perp Y|^2 stand for the squares
themselves, the rate is a *ratio of expectations*.
"""

PLACE = 130
