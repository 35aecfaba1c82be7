"""Judgements out of Tiller and into it: preference data for training, the full record, and what others collected."""
