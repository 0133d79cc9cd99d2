import threading

import numpy as np
import pytest
from remembered import digest

import ronn_hrm as hrm
from ronn.errors import OptionError


def _outputs(value: float, count: int = 4) -> dict[str, np.ndarray]:
    return {"y": np.full(count, value, np.float32), "z": np.array([value])}


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_hit_gives_what_was_put_and_the_caller_owns_it() -> None:
    cache = hrm.ExactCache(1 << 20)
    given = _outputs(1.0)
    assert cache.get(digest(1)) is None
    assert cache.put(digest(1), given)
    given["y"][:] = 9
    found = cache.get(digest(1))
    assert found is not None and list(found) == ["y", "z"] and found["y"].tolist() == [1.0] * 4
    found["y"][:] = 7
    again = cache.get(digest(1), copy=False)
    assert again is not None and again["y"].tolist() == [1.0] * 4 and not again["y"].flags.writeable
    assert cache.stats() == {
        "hits": 2, "misses": 1, "puts": 1, "evicted": 0, "expired": 0, "entries": 1, "bytes": 400 + 16 + 8,
    }  # fmt: skip


def test_namespaces_do_not_see_one_another() -> None:
    cache = hrm.ExactCache(1 << 20)
    cache.put(digest(1), _outputs(1.0), "a")
    assert cache.get(digest(1)) is None and cache.get(digest(1), "b") is None and cache.get(digest(1), "a") is not None


def test_bytes_stay_within_the_limit_and_the_least_recently_used_go_first() -> None:
    cache = hrm.ExactCache(64 * 1024)
    same = [bytes([0]) + digest(i)[1:] for i in range(40)]  # of one shard, where the order is exact
    for at, d in enumerate(same):
        cache.put(d, _outputs(at, 1024))
        cache.get(same[0])
        assert cache.stats()["bytes"] <= 64 * 1024
    kept = [i for i, d in enumerate(same) if cache.get(d) is not None]
    assert kept == [0, *range(40 - len(kept) + 1, 40)] and len(kept) == 64 * 1024 // (4096 + 8 + 400)
    assert cache.stats()["evicted"] == 40 - len(kept)


def test_all_shards_share_the_limit() -> None:
    cache = hrm.ExactCache(50_000)
    for i in range(500):
        cache.put(digest(i), _outputs(i, 250))
        assert cache.stats()["bytes"] <= 50_000
    assert len(cache) >= 50_000 // (400 + 1008) - 8
    assert cache.put(digest(1000), _outputs(0, 12_000)) and cache.get(digest(1000)) is not None


def test_what_is_larger_than_the_whole_cache_is_not_kept() -> None:
    cache = hrm.ExactCache(1000)
    assert not cache.put(digest(1), _outputs(1.0, 1000)) and len(cache) == 0
    assert not hrm.ExactCache(0).put(digest(1), _outputs(1.0))


def test_sequences_and_maps_are_not_kept_and_text_is_counted() -> None:
    cache = hrm.ExactCache(1 << 20)
    assert not cache.put(digest(1), {"s": [np.zeros(2)]}) and not cache.put(digest(1), {"m": {"a": 1}})
    assert cache.put(digest(2), {"t": np.array(["a" * 1000], object)}) and cache.stats()["bytes"] > 1400
    found = cache.get(digest(2))
    assert found is not None and found["t"].tolist() == ["a" * 1000]


def test_answers_age() -> None:
    clock = _Clock()
    cache = hrm.ExactCache(1 << 20, ttl=10.0, clock=clock)
    cache.put(digest(1), _outputs(1.0))
    clock.now = 10.0
    assert cache.get(digest(1)) is not None and len(list(cache.entries())) == 1
    clock.now = 10.1
    assert list(cache.entries()) == [] and cache.get(digest(1)) is None
    assert cache.stats()["expired"] == 1 and cache.stats()["bytes"] == 0


def test_another_fingerprint_voids_all() -> None:
    cache = hrm.ExactCache(1 << 20, fingerprint="a")
    cache.put(digest(1), _outputs(1.0))
    assert not cache.void("a") and len(cache) == 1
    assert cache.void("b") and len(cache) == 0 and cache.fingerprint == "b" and cache.stats()["bytes"] == 0


def test_forgetting_is_by_digest_by_namespace_or_both() -> None:
    cache = hrm.ExactCache(1 << 20)
    for namespace in ("a", "b"):
        for i in range(10):
            cache.put(digest(i), _outputs(i), namespace)
    assert cache.forget(digest=digest(3)) == 2 and cache.get(digest(3), "a") is None
    assert cache.forget(digest=digest(4), namespace="a") == 1 and cache.get(digest(4), "b") is not None
    assert cache.forget(namespace="a") == 8 and len(cache) == 9
    for i in range(20, 24):
        cache.put(digest(i), _outputs(i), at=float(i))
    assert cache.forget(before=22.0) == 2 and cache.get(digest(22)) is not None
    with pytest.raises(OptionError, match="nothing to forget was named"):
        cache.forget()


def test_eight_threads_leave_the_counts_right() -> None:
    cache = hrm.ExactCache(100_000)
    wrong: list[object] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for i in rng.integers(0, 300, 400).tolist():
            found = cache.get(digest(i))
            if found is None:
                cache.put(digest(i), _outputs(float(i), 100))
            elif not (found["y"] == i).all():
                wrong.append(i)
            if i == 7:
                cache.forget(digest=digest(i))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = cache.stats()
    assert not wrong
    assert stats["hits"] + stats["misses"] == 8 * 400
    assert stats["entries"] * (400 + 408) == stats["bytes"] <= 100_000
