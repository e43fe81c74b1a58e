"""`flowtracer serve`: a page in the browser to ask, trace, hide tokens and compare, all on this machine."""
