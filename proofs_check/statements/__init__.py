"""Every statement of the theory in a file of its own: ``family/name.py`` holds the statement ``family.name``.

A file holds all that one statement needs: its symbols, the derivation for SymPy
and the second form for the solvers of real arithmetic; what several statements
rest on is in the ``shared.py`` of their family.  :mod:`proofs_check.catalogue` finds them.
"""
