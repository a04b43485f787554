"""Tell people that spend reached a soft threshold: sinks, messages, deliveries."""
