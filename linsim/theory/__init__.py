"""What must happen, from the spectra alone."""
