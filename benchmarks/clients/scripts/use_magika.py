"""File types of this Python's own files."""

import sysconfig
from pathlib import Path

from magika import Magika
from show import show

magika = Magika()
stdlib = Path(sysconfig.get_path("stdlib"))
packages = Path(sysconfig.get_path("purelib"))
sources = sorted(p for p in stdlib.glob("*.py") if p.stat().st_size > 200)[:150]
others = sorted(p for e in ("so", "txt", "json", "md", "onnx", "typed", "h") for p in packages.rglob(f"*.{e}"))[:100]
results = {p.name: magika.identify_path(p) for p in (*sources, *others) if p.stat().st_size > 200}
show(
    labels={name: str(r.output.label) for name, r in results.items()},
    scores=[round(float(r.score), 4) for r in results.values()],
    python_files_right=sum(str(results[p.name].output.label) == "python" for p in sources),
)
