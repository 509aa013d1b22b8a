"""References for the service, each in a process: its bare engine, and the same net behind other servers."""
