"""Print where the plug-in file is: `--external_plugins $(python -m flowtracer.integrations.swift)`."""

from flowtracer.integrations.swift.settings import PLUGIN

print(PLUGIN)
