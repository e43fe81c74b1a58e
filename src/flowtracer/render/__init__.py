"""Pictures of a trace: an offline page, static figures, coloured text. Nothing here computes flow."""

from flowtracer.render.page import notebook_frame, page_html, save_page

__all__ = ["notebook_frame", "page_html", "save_page"]
