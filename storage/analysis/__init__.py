"""What the judgements say: win rates, ratings, agreement, annotators, and the blend that people prefer."""
