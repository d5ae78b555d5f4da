"""Upper and lower bounds of every gap at a finite depth, with each of their constants.

A state is X_l = V Y_l Z: unit columns v_i of V, rows z_j of Z, duals u_i (rows of U = V^-1) and w_j
(columns of W = Z^-1), and coefficients Y_l = rho^l o (U X_0 W) entry by entry.  ||.|| is the norm of
Frobenius, |.| that of a vector or a modulus, |.|_2 the largest singular value.  Everything is reduced to
a few numbers in the same way: norms do not change under orthonormal (unitary) changes of basis, two
vectors span a plane, complex vectors are real ones of twice the dimension with the same norms, and two
matrices of one size are two vectors.  Where a length of zero would be divided by, it is taken positive:
the other case follows by continuity.
"""

PLACE = 80
