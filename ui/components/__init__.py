"""Parts of the page: each file lays out one part and returns its components by name."""
