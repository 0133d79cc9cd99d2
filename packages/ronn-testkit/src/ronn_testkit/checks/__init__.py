"""The checks, one function each: ``check(subject)`` raises CheckFailed, or NotApplicable with the reason."""

from __future__ import annotations

from collections.abc import Callable

from ronn_testkit.checks import (
    behaviour,
    claims,
    concurrency,
    discovery,
    dynamic,
    isolation,
    kept,
    lifetimes,
    numerics,
    ownership,
    partitioning,
    resources,
    stopping,
)
from ronn_testkit.subject import Subject

Check = Callable[[Subject], None]

CHECKS: dict[str, Check] = {
    "import": discovery.imports_cleanly,
    "absence": discovery.absence_is_a_reason,
    "honest_claims": claims.claimed_nodes_run,
    "refusals": claims.refused_nodes_are_refused,
    "numerics": numerics.equals_reference,
    "onnx_dtypes": numerics.onnx_cases_in_other_dtypes,
    "layouts": numerics.layouts_do_not_matter,
    "dynamic_shapes": dynamic.fifty_shapes,
    "ownership": ownership.nothing_is_shared,
    "lifetimes": lifetimes.outputs_outlive_and_inputs_are_let_go,
    "buffers": lifetimes.outputs_go_to_buffers,
    "threads": concurrency.threads_share_a_session,
    "fork": concurrency.fork_and_spawn,
    "stopping": stopping.runs_can_be_stopped,
    "memory": resources.flat_memory,
    "close": resources.close_gives_back,
    "memory_cap": kept.limit_is_kept,
    "cache": kept.damaged_files_are_found,
    "partitioning": partitioning.claims_switched_off,
    "errors": behaviour.errors_name_the_node,
    "options": behaviour.unknown_option_is_refused,
    "versions": behaviour.api_version_is_checked,
    "network_and_files": isolation.no_network_no_files,
    "determinism": behaviour.same_bits_twice,
}
"""By name, in the order in which they run."""

NOT_YET = {
    "oldest and newest core": "there is one version of ronn-core; `nox -s minimums` will hold the others",
}
"""Items of the conformance list that this version of RONN has no feature for, with the reason."""
