"""Weights that sharpen under every attention.

Complex numbers are written lambda = u + iv; |lambda| < 1 for every eigenvalue of attention but lambda = 1.
"Beats" is said of moduli |1 + mu lambda|.
"""

PLACE = 20
