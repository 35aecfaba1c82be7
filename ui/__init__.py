"""The page and the command line: Gradio lives here, and thin."""
