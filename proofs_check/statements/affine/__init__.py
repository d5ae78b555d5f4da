"""Layers with a bias, X + A X H + 1 b^T, where all rows of A sum to one number s (1 for attention).

u is the left vector with u A = s u and u 1 = 1; m = u X is the constant part of the tokens. Along an
eigenvector w of H, H w = mu w, it is the number m w, and d = b w is what the bias adds to it. Complex
numbers obey the same identities, real and imaginary parts apart.
"""

PLACE = 45
