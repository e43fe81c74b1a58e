"""From mean attention to a conserved flow of influence that ends in the answer."""

from flowtracer.flow.answer_flow import AnswerFlow, answer_flow, send_flow
from flowtracer.flow.backbone import BACKBONE_RATIO, select_backbone
from flowtracer.flow.edges import Edge, smallest_edge_set, strongest_edges
from flowtracer.flow.hubs import Hubs, find_hubs
from flowtracer.flow.routes import Route, dominant_routes

__all__ = [
    "BACKBONE_RATIO",
    "AnswerFlow",
    "Edge",
    "Hubs",
    "Route",
    "answer_flow",
    "dominant_routes",
    "find_hubs",
    "select_backbone",
    "send_flow",
    "smallest_edge_set",
    "strongest_edges",
]
