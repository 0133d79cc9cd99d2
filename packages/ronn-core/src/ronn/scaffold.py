"""Makes a new provider package: what ``ronn new-provider NAME`` writes; ``examples/provider-template`` is one."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template

from ronn.errors import OptionError

_PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "ronn-provider-$name"
version = "0.1.0"
description = "The $name execution provider for RONN"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["ronn-core>=0.1", "numpy>=2.2"]

[project.optional-dependencies]
test = ["ronn-testkit>=0.1"]

[project.entry-points.ronn]
$name = "$module:$cls"

[tool.hatch.build.targets.wheel]
include = ["$module.py"]
"""

_MODULE = '''\
"""Execution provider ``$name``: two operators of float32, in NumPy."""

import numpy as np

from ronn.provider import KernelContext, KernelProvider, kernel


class $cls(KernelProvider):
    """Each method is a kernel: it claims nodes of its operator whose first input has one of its dtypes."""

    name = "$name"

    @kernel("Relu", since=6, dtypes="float32")
    def relu(self, ctx: KernelContext, x: np.ndarray) -> np.ndarray:
        return np.where(x < 0, np.float32(0), x)

    @kernel("Add", since=7, dtypes="float32")
    def add(self, ctx: KernelContext, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(a + b)
'''

_README = """\
# ronn-provider-$name

An execution provider for [RONN](https://pypi.org/project/ronn/). It claims `Relu` and `Add` of float32; the rest of a
model runs on the providers listed behind it.

```
pip install ".[test]"
ronn providers
python -m pytest
```

```python
import ronn

session = ronn.Session("model.onnx", providers=["$name", "cpu", "reference"])
print(session.placement())
```

Add an operator: write a method in `$module.py` and mark it with `@kernel`. Then `python -m pytest --ronn-update-passes`
rewrites `tests/passes.txt`, the list of ONNX's own tests that the provider passes.
"""

_TEST = '''\
"""The conformance kit, on this provider."""

from ronn_testkit import ProviderSuite


class TestConformance(ProviderSuite):
    provider = "$name"
'''

_PASSES = """\
# onnx 1.23
# columns: native
# native: 7
test_ReLU                                  since:6   native
test_add                                   since:14  native
test_add_bcast                             since:14  native
test_relu                                  since:14  native
test_sequence_map_add_1_sequence_1_tensor  since:17  native
test_sequence_map_add_2_sequences          since:17  native
test_single_relu_model                     since:9   native
"""

_FILES = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "$module.py": _MODULE,
    "tests/test_conformance.py": _TEST,
    "tests/passes.txt": _PASSES,
}


def create_provider(name: str, folder: str | Path) -> list[Path]:
    """Writes the package ``ronn-provider-<name>`` into ``folder`` (made if need be) and returns the files.

    Its tests pass as they are once it is installed. Raises OptionError for a name that no package can have, and where a
    file is there already: nothing is overwritten.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise OptionError(
            f"{name!r} is no name for a provider",
            hint="lower-case letters, digits and single dashes, for instance my-npu",
        )
    root = Path(folder)
    words = {
        "name": name,
        "module": f"ronn_provider_{name.replace('-', '_')}",
        "cls": "".join(part.capitalize() for part in name.split("-")) + "Provider",
    }
    files = {root / Template(path).substitute(words): Template(text).substitute(words) for path, text in _FILES.items()}
    for path in files:
        if path.exists():
            raise OptionError(f"{path} exists", hint="choose another name or folder")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(files)
