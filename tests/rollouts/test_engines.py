"""What is reserved for the workers of a cluster."""

import pytest

pytest.importorskip("pyarrow", reason="needs the extra flowtracer[score]")

from flowtracer.rollouts.engines import Reservation, reserve

GPUS = {"CPU": 16.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        ([{"CPU": 2.0}], None, Reservation(1, 2, 0)),
        ([{"CPU": 2.0}], 2, Reservation(2, 1, 0)),
        ([{"CPU": 3.0}, {"CPU": 3.0}], 3, Reservation(3, 1, 0)),  # 2 each would leave room for two
        ([{"CPU": 4.0}, {"CPU": 4.0}], 3, Reservation(3, 2, 0)),
        ([{"CPU": 8.0}, {}], 1, Reservation(1, 8, 0)),
        ([GPUS], None, Reservation(8, 2, 1)),
        ([GPUS, GPUS], None, Reservation(16, 2, 1)),
        ([GPUS, {"CPU": 64.0}], 4, Reservation(4, 2, 1, 16)),  # cores without a GPU read
        ([GPUS], 2, Reservation(2, 2, 1, 8)),
        ([{"CPU": 4.0, "GPU": 1.0}], None, Reservation(1, 2, 1, 2)),
        ([{"CPU": 1.0, "GPU": 1.0}], None, Reservation(1, 1, 1, 0)),
    ],
)
def test_cores_and_gpus_are_shared_out(nodes, workers, expected):
    assert reserve(nodes, workers) == expected


def test_workers_without_a_gpu_are_refused_where_there_are_gpus():
    with pytest.raises(ValueError, match=r"^9 workers need a GPU each, but Ray has 8; use --work"):
        reserve([GPUS], 9)
    assert reserve([GPUS], 9, on_cpu=True) == Reservation(9, 1, 0)
    assert reserve([GPUS], None, on_cpu=True) == Reservation(1, 16, 0)


def test_workers_without_a_core_are_refused():
    with pytest.raises(ValueError, match=r"^3 workers need a core each, but Ray has 2 "):
        reserve([{"CPU": 2.0}], 3)
    with pytest.raises(ValueError, match="a core each on the machine of its GPU"):
        reserve([{"GPU": 2.0, "CPU": 1.0}, {"CPU": 8.0}], None)
