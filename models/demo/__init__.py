"""The embedded model: its weights (``base/``, ``guides/``) and how they are made (``build``)."""
