"""The commands of ``linsim``: what a person runs, above everything that a program imports.

Nothing outside this folder imports from it, but ``python -m linsim``.  A command takes what it needs
when it runs, so that ``linsim --help`` does not wait for the proofs, the figures or the benchmark.
"""
