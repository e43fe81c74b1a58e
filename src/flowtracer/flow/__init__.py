"""From mean attention to a conserved flow of influence that ends in the answer.

Names are imported when they are first used: what needs no tensors loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowtracer.flow.backbone import (
        select_backbone,
    )
    from flowtracer.flow.edges import (
        smallest_edge_set,
        strongest_edges,
    )
    from flowtracer.flow.graph import (
        BACKBONE_RATIO,
        Edge,
        Route,
    )
    from flowtracer.flow.hubs import (
        Hubs,
        find_hubs,
    )
    from flowtracer.flow.routes import (
        Routes,
        strongest_routes,
    )
    from flowtracer.flow.targeted import (
        AnswerFlow,
        answer_flow,
        send_flow,
    )

__all__ = [
    "BACKBONE_RATIO",
    "AnswerFlow",
    "Edge",
    "Hubs",
    "Route",
    "Routes",
    "answer_flow",
    "find_hubs",
    "select_backbone",
    "send_flow",
    "smallest_edge_set",
    "strongest_edges",
    "strongest_routes",
]
_MODULES = {
    "targeted": (
        "AnswerFlow",
        "answer_flow",
        "send_flow",
    ),
    "backbone": ("select_backbone",),
    "edges": (
        "smallest_edge_set",
        "strongest_edges",
    ),
    "graph": (
        "BACKBONE_RATIO",
        "Edge",
        "Route",
    ),
    "hubs": (
        "Hubs",
        "find_hubs",
    ),
    "routes": (
        "Routes",
        "strongest_routes",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'flowtracer.flow' has no attribute {name!r}")
    return getattr(import_module(f"flowtracer.flow.{_HOME[name]}"), name)
