"""Plug-ins for training engines. Nothing else in the package imports them."""
