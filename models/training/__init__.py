"""Training of guides: from preference pairs to a guide's folder with its card."""
