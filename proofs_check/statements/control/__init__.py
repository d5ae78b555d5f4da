"""Steering the spectrum of the weights: clipped and squared eigenvalues, the sign of a layer norm's gain.

A layer X + A X H has the eigenvalues 1 + lambda mu, lambda of the attention A
and mu of the weights H.  The constant direction has lambda = 1, every other
lambda = x + iy lies inside the unit disk; a is the smallest eigenvalue of a
real spectrum.  Tokens *smooth* where lambda = 1 alone has the largest modulus,
they *sharpen* where another eigenvalue of attention has; a gain gamma of a
layer norm in front of the weights makes gamma mu of mu.
"""

PLACE = 90
