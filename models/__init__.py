"""Language models: loading, adapters, caches, prompts, guide cards and the engine that decodes with them."""
