"""Jordan blocks: what replaces a mode when A or H has fewer eigenvectors than dimensions.

A block of size p of A at lambda and one of size q of H at mu carry a p x q matrix Y of coefficients, with X =
V Y Z: the columns of V are a chain of A (A v_1 = lambda v_1, A v_2 = lambda v_2 + v_1), the rows of Z one of
H (z_1 H = mu z_1, z_2 H = mu z_2 + z_1). A layer is Y <- Y + (lambda + N) Y (mu + N^T), N the shift. In all
of it rho = 1 + lambda mu is not zero, k = 1/rho, and what is written is Y divided by rho^l.
"""

PLACE = 60
