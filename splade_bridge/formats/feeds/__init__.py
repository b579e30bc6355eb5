"""What search engines and vector databases load: a module an engine, and one way to write."""
