"""Which eigenvalue of attention wins, for real and complex spectra, and what follows for the frequencies.

Eigenvalues of a layer are 1 + lambda mu, lambda of attention A and mu of the weights H. lambda = 1 belongs
to the constant vector, a is the smallest eigenvalue of a real spectrum, and |lambda| < 1 for all but
lambda = 1 (Perron). Complex numbers are written mu = x + iy and lambda = u + iv. "lambda = 1 wins" means
|1 + mu| > |1 + mu lambda|. HFC is the norm of the part of the tokens orthogonal to the constant vector, LFC
that of the part along it.
"""

PLACE = 10
