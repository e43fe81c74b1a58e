"""Plug-ins for engines that are not built on TRL. Nothing else in the package imports them."""
