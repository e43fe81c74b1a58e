"""Monte-Carlo values: how much each decision of a response changed the chance of being right."""
