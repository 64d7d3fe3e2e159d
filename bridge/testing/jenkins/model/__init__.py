"""Jenkins as values and rules: builds, inputs, queue, accounts. No I/O; time is given."""
