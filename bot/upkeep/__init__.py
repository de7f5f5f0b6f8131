"""What the deployment does for itself: forget what is old (retention), move to a new key (rotation)."""
