"""Programs that mean harm: each must end as it is said, and leave the host as it was."""
