"""The commands of ``python -m ui.cli``, one module per family; each adds its parsers and turns arguments into lines."""
