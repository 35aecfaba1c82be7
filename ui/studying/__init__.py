"""The Studies page: studies are made, their answers written, and what was changed is read."""
