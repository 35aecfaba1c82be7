"""The method: mixing guides with a base model at decode time (GenARM, arXiv 2410.08193)."""
