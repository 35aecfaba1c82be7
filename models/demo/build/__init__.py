"""How the embedded model is made: data, tokenizer, base model, guides and card; ``python -m models.demo.build``."""
