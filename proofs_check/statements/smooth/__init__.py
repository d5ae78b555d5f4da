"""Weights that smooth, and under which attention.

Complex numbers are written mu = x + iy and lambda = u + iv; |lambda| < 1 for every eigenvalue of attention
but lambda = 1. Tokens smooth where |1 + mu| is larger than every other |1 + mu lambda|.
"""

PLACE = 30
