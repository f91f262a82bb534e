"""Pictures of attributions that stay readable for prompts of hundreds of tokens, and HTML for pages and notebooks."""

from captum_heta.visualization.heat_map import plot_heat_map
from captum_heta.visualization.markup import html_text, records
from captum_heta.visualization.pieces import Piece, pieces
from captum_heta.visualization.text_plot import plot_terms, plot_text

__all__ = ["Piece", "html_text", "pieces", "plot_heat_map", "plot_terms", "plot_text", "records"]
