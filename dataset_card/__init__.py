"""What people see of a release: the card and the preview pictures."""
