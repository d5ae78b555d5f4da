"""Layers without a residual connection, X <- A X H.

Eigenvalues of a layer are lambda mu, and lambda = 1 belongs to the constant vector.
"""

PLACE = 40
