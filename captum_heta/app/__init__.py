"""A page on which a person explains a text in a browser; needs gradio, which the command imports with the page."""
