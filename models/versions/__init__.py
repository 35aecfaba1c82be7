"""Versions of guides: kept on disk, checked, published into the running engine, and rolled back."""
