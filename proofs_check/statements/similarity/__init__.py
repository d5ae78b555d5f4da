"""Token similarity: what it is, and what leaves it as it is.

Notation as in the family escalation.
"""

PLACE = 120
