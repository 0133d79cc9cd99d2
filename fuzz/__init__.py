"""Coverage-guided fuzzing with atheris: ``nox -s fuzz``, or ``python -m fuzz --help``.

``frontend``: bytes go through ``ronn.load``. ``executor``: arrays of any dtype, shape and content go into sessions of
models whose operators read indices, sizes and counts. Whatever comes out must be a result or a RonnError.
"""
