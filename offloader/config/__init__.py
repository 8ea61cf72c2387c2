"""What people write (YAML) as frozen, checked models; every problem with line and column."""
