"""The provider template is a package of its own: its tests need it installed (ronn-testkit's tests do that)."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("ronn_provider_toy") is not None else ["provider-template"]
