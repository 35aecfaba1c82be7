"""The Judge page: studies judged blind, one item at a time."""
