"""G1 and G2: whether the bound holds, and what share of requests it leaves to the cheap model."""

from __future__ import annotations

from benchmarks.hrm.goal import Goal
from benchmarks.hrm.populations import POPULATIONS, named
from ronn_hrm.guarantee import Guarantee, empirical, violations

DRAWS, DELTA, RECORDS = 500, 0.1, 1000
ALPHAS = (0.005, 0.01, 0.02)
SHARE, STRETCH = 0.84, 0.86


def bound(draws: int = DRAWS) -> Goal:
    """G1: in how many of ``draws`` calibrations the true risk is above alpha."""
    goal = Goal("G1", f"the bound: {draws} calibrations of {RECORDS} records for each data set and alpha, delta 10 %")
    rows = []
    for key in POPULATIONS:
        records = named(key)
        for alpha in ALPHAS:
            guarantee = Guarantee(alpha=alpha, delta=DELTA)
            ours = violations(records.scores, records.losses, guarantee, RECORDS, draws)
            plain = violations(records.scores, records.losses, guarantee, RECORDS, draws, by=empirical)
            limit = ours.allowed(DELTA)
            rows.append(
                {
                    "population": key, "alpha": alpha, "violated": ours.rate, "allowed": limit, "share": ours.share,
                    "risk": ours.risk, "empirical_violated": plain.rate, "empirical_share": plain.share,
                    "records": len(records.losses), "disagreement": float(records.losses.mean()),
                }
            )  # fmt: skip
            goal.add(
                f"{records.name}, alpha {alpha:.1%}",
                f"violated {ours.rate:.1%}, share {ours.share:.3f} (plain: {plain.rate:.0%}, {plain.share:.3f})",
                target=f"<= {limit:.1%}",
                prototype="2-7 %",
                met=ours.rate <= limit,
            )
    goal.figures["trials"] = rows
    return goal


def share(draws: int = DRAWS) -> Goal:
    """G2: the certified share on MNIST."""
    goal = Goal("G2", f"certified share on MNIST, alpha 1 %, {RECORDS} records, mean of {draws} calibrations")
    records = named("mnist")
    guarantee = Guarantee(alpha=0.01, delta=DELTA)
    found = violations(records.scores, records.losses, guarantee, RECORDS, draws)
    alone = violations(records.plain, records.losses, guarantee, RECORDS, draws)
    goal.figures |= {
        "share": found.share, "confidence_alone": alone.share, "scorer": records.scorer,
        "disagreement": float(records.losses.mean()), "perfect": records.ideal,
    }  # fmt: skip
    goal.add(
        f"share ({records.scorer})", f"{found.share:.3f}", target=f">= {SHARE}", prototype=".82",
        met=found.share >= SHARE,
    )  # fmt: skip
    goal.add("stretch", f"{found.share:.3f}", target=f">= {STRETCH}", met=found.share >= STRETCH)
    goal.add("by confidence alone", f"{alone.share:.3f}", prototype=".70")
    goal.add("with the right order of all requests", f"{records.ideal:.3f}")
    return goal
