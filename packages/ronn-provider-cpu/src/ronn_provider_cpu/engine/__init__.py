"""Running native plans: the executor, its thread pool, and the engine that the plan launches."""
