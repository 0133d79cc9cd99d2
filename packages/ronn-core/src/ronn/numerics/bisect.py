"""``ronn.bisect``: which pass, which rewrite, which node or kernel makes a model's numbers wrong.

1. What is expected: the model as it was imported, node by node on reference kernels; or ONNX Runtime; or given outputs.
2. The model as a session runs it. When that agrees there is nothing to find.
3. Rewrites have numbers. With none the numbers are right, with all they are wrong: halving finds the one that makes the
   difference, in as many runs as the logarithm of their number.
4. The graph just after that rewrite, on reference kernels again, tells whether the rewrite is wrong, or one that had to
   follow it, or a kernel that runs what was made.
5. Kernels are run one by one, each on what reference kernels make of the nodes before it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ronn.model import Model
from ronn.numerics.bisection import Bisection
from ronn.numerics.difference import Tolerance
from ronn.numerics.expectation import REFERENCE, Expectation
from ronn.numerics.samples import Data, Reading, read_samples
from ronn.numerics.search import Progress, Search
from ronn.options import SessionOptions, router_elsewhere
from ronn.targets import resolve_targets
from ronn.values import ValueInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ronn.model import Options, Source
    from ronn.targets import ProviderSpec

def bisect(
    model: Source,
    data: Data = None,
    *,
    providers: Sequence[ProviderSpec] | None = None,
    options: Options | None = None,
    against: str | os.PathLike[str] | Mapping[str, Any] = REFERENCE,
    rtol: float | None = None,
    atol: float | None = None,
    share: float = 0.0,
    timeout: float | None = None,
    isolate: bool | None = None,
    shapes: Sequence[str] = (),
    seed: int = 0,
    normalize: str = "unit",
    progress: Progress | None = None,
) -> Bisection:
    """Finds the pass, the rewrite and the node, or the kernel, that makes the numbers of a model wrong.

    model, providers, options: as for ``Session``: what is under suspicion.
    data: inputs, as for ``compare``: ``"random"``, files, folders, arrays by name, or a list of these. Of several
        samples the first one that differs is looked into.
    against: what is expected: ``"reference"`` (no pass, reference kernels), ``"onnxruntime"`` (unoptimised),
        or outputs by name, or an ``.npz`` file of them (for one sample).
    rtol, atol, share: see ``Tolerance``. NaN and infinities must stand in the same places.
    timeout: seconds after which a run has failed; runs are then made in child processes. isolate: whether they are
        in any case, so that a crash is found as well; None: if the first one, in a child, crashes.

    Raises RonnError for what is wrong with the arguments; a run that fails is a finding, not an error.
    """
    chosen = SessionOptions.of(options)
    if chosen.router is not None:
        raise router_elsewhere(chosen.router)
    loaded = model if isinstance(model, Model) else Model.load(model, chosen)
    targets = resolve_targets(providers, chosen)
    reading = Reading(chosen.dimensions, shapes, seed, normalize)
    samples = read_samples(data, [ValueInfo.of(v) for v in loaded.ir.graph.inputs], reading)
    tolerance = Tolerance(rtol, atol, share)
    if chosen.precision != "float32":
        tolerance = tolerance.narrowed()
    if isolate is None and not all(t.device.memory == "host" for t in targets):
        isolate = False  # devices do not follow into a child process
    if isolate is None and timeout is not None:
        isolate = True
    expectation = Expectation(loaded, targets, against)
    search = Search(loaded, targets, chosen, tolerance, expectation, timeout, isolate, progress)
    return search.run(samples)
