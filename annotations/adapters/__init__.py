"""Models of users, behind the protocols of `thermvision.annotations.faces`."""
