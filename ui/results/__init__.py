"""The Results page: what the judgements of a study say."""
