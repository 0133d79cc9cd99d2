import math
from pathlib import Path

import pytest

import ronn_hrm as hrm
from ronn.errors import OptionError


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [("90s", 90.0), ("1.5m", 90.0), ("12h", 43200.0), (" 30 d ", 2592000.0), ("2w", 1209600.0), (5, 5.0)],
)
def test_a_duration_is_a_number_or_a_text_with_a_unit(ttl: float | str, seconds: float) -> None:
    assert hrm.Memory(ttl=ttl).ttl_seconds == seconds


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl": "30"}, {"ttl": "d"}, {"ttl": "-1d"}, {"ttl": 0}, {"ttl": math.inf}, {"ttl": True}, {"ttl": "1 month"},
        {"path": 3}, {"exact_mb": -1}, {"exact_mb": math.nan}, {"exact_mb": True}, {"episodes": 0}, {"episodes": 1.5},
        {"episodes": True}, {"episodes_mb": "many"}, {"requests_mb": None}, {"states_mb": -1}, {"store_inputs": 1},
        {"fsync": True}, {"exact_on_disk": "no"},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(wrong: dict) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(wrong))}=.*"):
        hrm.Memory(**wrong)


def test_it_says_what_it_is_in_plain_values() -> None:
    memory = hrm.Memory(Path("somewhere"), ttl="1h", exact_mb=0)
    data = memory.as_data()
    assert data["path"] == "somewhere" and hrm.Memory(**data).as_data() == data
    assert (memory.exact_bytes, memory.episode_bytes) == (0, 256 << 20)
