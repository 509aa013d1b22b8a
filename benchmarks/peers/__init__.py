"""What the service is compared with: its bare engine, and the same net behind other servers; each a process."""
