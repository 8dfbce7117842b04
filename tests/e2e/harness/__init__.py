"""What the suites share: the bridge as a process, private brokers, the vendors' signers, a load generator."""
