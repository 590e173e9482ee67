"""What a release is and what another one has that it has not."""
