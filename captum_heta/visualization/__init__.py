"""Pictures of attributions that stay readable for prompts of hundreds of tokens, and HTML for pages and notebooks."""

from typing import TYPE_CHECKING

from captum_heta._lazy import lazy

if TYPE_CHECKING:
    from captum_heta.visualization.captum_records import records
    from captum_heta.visualization.heat_map import plot_heat_map
    from captum_heta.visualization.html import html_text
    from captum_heta.visualization.text_pieces import Piece, pieces
    from captum_heta.visualization.text_plot import plot_terms, plot_text

__all__ = ["Piece", "html_text", "pieces", "plot_heat_map", "plot_terms", "plot_text", "records"]

# the command line needs signs and colours of it, and neither numpy nor a template
__getattr__, __dir__ = lazy(
    __name__,
    {
        **dict.fromkeys(("Piece", "pieces"), "captum_heta.visualization.text_pieces"),
        "html_text": "captum_heta.visualization.html",
        "plot_heat_map": "captum_heta.visualization.heat_map",
        "records": "captum_heta.visualization.captum_records",
        **dict.fromkeys(("plot_terms", "plot_text"), "captum_heta.visualization.text_plot"),
    },
)
