"""Sessions whose memory cannot be written, or is too small for what they do."""

from pathlib import Path

import numpy as np
import pytest
from memory.sessions import Models

from ronn_hrm.errors import StateError


def test_requests_are_answered_while_the_disk_is_full_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ronn_hrm.memory.episodic._BLOCK", 64)
    models = Models()
    rng = np.random.default_rng(0)
    with models.open(tmp_path) as session:
        session.run(models.request(rng))
        store = session._parts.store
        store.flush()
        connection = store._database.connection
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        numbers = []
        for _ in range(400):  # more than numbers are reserved at a time
            outputs, why = session.run(models.request(rng), explain=True)
            assert outputs["scores"].shape == (1, 10)
            numbers.append(why.id)
        assert numbers == list(range(2, 402))
        with pytest.raises(StateError, match=r"full\nhint: make room"):
            for _ in range(3):
                store.flush()
        assert session.metrics.count("failures") > 0
        connection.execute("PRAGMA max_page_count = 1000000")
        try:
            store.flush()
        except StateError:
            store.flush()
        session.run(models.request(rng))
        kept = [entry.decision.id for entry in store.logged()]
        assert kept[-1] == 402 and kept == sorted(set(kept)) and len(kept) > 50
    with models.open(tmp_path) as session:
        assert session.run(models.request(rng), explain=True)[1].id > 402
