"""Ways to walk through layers; one interface, one file each."""
