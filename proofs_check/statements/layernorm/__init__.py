"""The gain of a layer norm in front of the weights: which signs swap smoothing and sharpening.

Notation as in the family control; a gain gamma makes gamma mu of an eigenvalue mu of the weights.
"""

PLACE = 100
