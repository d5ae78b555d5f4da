"""Truth in arbitrary precision, systems to try, and what every result is held to."""
