"""A plug-in of ms-swift: its GRPO with flow credit, as `FLOW_CREDIT` in the environment says."""

import os

from flowtracer.integrations.swift import use_credit
from flowtracer.integrations.swift.settings import VARIABLE, options_in

use_credit(**options_in(os.environ.get(VARIABLE, "")))
