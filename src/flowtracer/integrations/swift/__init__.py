"""Flow credit in ms-swift's GRPO, through its own plug-in mechanism.

registration  the trainer in swift's table, with the credit that a plug-in file names
settings      the credit that is requested, and what is refused
rows          from a micro-batch of swift, padded or not, to rows of tokens and back
trainer       swift's trainer, advantages times weights after it has computed them
plugin        a file for `--external_plugins`; in a folder of its own, because swift makes that importable
"""

from flowtracer.integrations.swift.registration import use_credit as use_credit
