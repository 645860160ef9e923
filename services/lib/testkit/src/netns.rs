//! Network namespaces for tests. They need root; without it a test prints SKIP and returns.
