"""Flow credit in verl without a fork: `python -m flowtracer.integrations.verl`.

launch    verl's entry point with the trainer below and settings checked first
settings  the credit that a configuration requests, and what is refused
trainer   verl's synchronous trainer, advantages times weights after it has computed them
worker    verl's actor worker with one more method, the weights of its part of a batch
weights   from a part of a batch to those weights
"""
