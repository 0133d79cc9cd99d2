"""A server loop of the standard library: many connections, one session, requests that run together."""
