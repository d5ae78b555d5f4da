"""Exact laws of token similarity escalation under uniform attention, for Gaussian and for Haar weights.

Under uniform attention every layer multiplies the odds by Q = |e + W^T e|^2 (escalation.uniform), so as the
similarity goes to 1 the mean rate is 1 - E[1/Q] and the typical growth of the odds is E ln Q.  Notation: d
features, b = d/2; W has independent entries N(0, v), v = s^2/d, or is s times a Haar orthogonal matrix;
S = s^2, m = 1 + S = E Q, g = 2v, and K(p) is the integral of (1-w)^p exp(-z w) over 0 < w < 1, z = 1/(2v), so
that E[1/Q] = z K(b-2) for Gaussian weights.  What is an integral or a special function is derived by SymPy
alone and enclosed by balls; what it comes down to is algebra, proved twice.
"""

PLACE = 140
