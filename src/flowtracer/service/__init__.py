"""A scorer that needs no trainer: token ids in, weights out, in this process or over HTTP."""
