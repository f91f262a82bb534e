"""A page on which a person explains a text in a browser; needs gradio, which `captum_heta.app.page` alone imports."""
