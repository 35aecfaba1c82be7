"""Judgements: the records, and the only room that speaks SQL."""
