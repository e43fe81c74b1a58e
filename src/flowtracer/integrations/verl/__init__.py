"""Credit in verl's trainers, without a fork: two methods of verl are wrapped when this is imported.

    VERL_USE_EXTERNAL_MODULES=flowtracer.integrations.verl python -m verl.trainer.main_ppo \\
        +flowtracer.scorer=flow ...

verl imports the modules of that variable in every process that imports verl; it has to reach the
workers too (see docs/verl.md). Nothing changes unless the run's config has a section `flowtracer`.
verl's entry points for plug-ins are not used, because it hides their failures.
"""

from flowtracer.integrations.verl.install import RELIED_ON, install

__all__ = ["RELIED_ON", "install"]

install()
