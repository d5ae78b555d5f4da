"""How fast each gap closes: token diversity, angles, rank, effective rank and norm, with explicit constants.

X_l is a sum of modes rho_ij^l c_ij v_i z_j with A and H diagonalizable, X_0 generic and one dominant pair of
modulus R. A gap is a quotient of norms or of 2 x 2 minors, and each of these is near its leading part, a
modulus to the power l, as soon as that is twice what follows. q_tok is the factor of the root of token
diversity, q_rank that of the minors.
"""

PLACE = 70
