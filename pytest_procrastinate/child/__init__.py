"""What runs after the fork, in the child of one test."""
