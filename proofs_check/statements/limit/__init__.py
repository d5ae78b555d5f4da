"""What the tokens tend to: rank, angles and frequencies, decided by the eigenvalues of largest modulus.

Notation: A and H diagonalizable, X_l the sum of (rho_ij)^l c_ij v_i z_j^T, rho_ij = 1 + lambda_i mu_j. The
dominant set D holds the pairs (i, j) of largest |rho_ij| among those with c_ij != 0. Divided by that modulus
to the power l, X_l is a leading part V C_l Z^T, where C_l holds c_ij times the phase of rho_ij^l for (i, j)
in D and zeros elsewhere, plus a rest of norm at most B q^l with 0 < q < 1. The columns of V and those of Z
are independent, so the leading part has the rank of C_l. "Rank collapse" means sigma_2/sigma_1 -> 0.
"""

PLACE = 50
